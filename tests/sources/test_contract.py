"""What every source promises, whichever it is. Another one joins by a line in ``SOURCES``."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from groupwise import recipes
from groupwise.algorithm import Algorithm, Source
from groupwise.sources import (
    AgentPrograms,
    Ahead,
    AllRollouts,
    Demonstrations,
    DrawContext,
    FrozenPolicy,
    MonteCarloSteps,
    OnPolicy,
    Pairs,
    RolloutBatch,
    StepLabels,
    Stream,
)
from groupwise.tasks.task import Task
from groupwise.tokens.segmentation import Lines
from groupwise.training.stage import Stage
from groupwise.types import DEMONSTRATED, Example, flatten
from groupwise.values.metric_names import untimed

METRICS = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


class EveryThird:
    """A step ends at every third character."""

    def ends(self, text: str) -> tuple[int, ...]:
        return (*range(3, len(text), 3), len(text)) if text.strip() else ()


ROWS = tuple(
    Example(
        f"row:{n}",
        f"{n} + 1 =",
        completion=f"{n + 1}",
        answer=f"{n + 1}",
        columns={
            "chosen": f"{n + 1}",
            "rejected": f"{n + 2}",
            "completions": ["one", f"{n + 1}"],
            "labels": [1, n % 2],
        },
    )
    for n in range(10)
)


class Odd:
    """Right where the number of characters is odd."""

    name, weight = "odd", 1.0

    def score(self, rollouts: Any) -> list[Any]:
        from groupwise.types import Score

        return [Score(float(len(rollout.text) % 2)) for rollout in rollouts]


@dataclass(frozen=True)
class Made:
    """A source, in an algorithm and on a task that it goes with."""

    source: Source
    algorithm: Algorithm = recipes.grpo
    task: Task = field(default_factory=lambda: Task("rows", ROWS, (Odd(),)))
    timed: bool = False
    """Whether what it draws depends on how fast things are."""


PLAIN, STEPS = Task("rows", ROWS), Task("rows", ROWS, (Odd(),), steps=EveryThird())
SAMPLED: dict[str, Any] = {"max_completion_tokens": 6, "samples_per_prompt": 3}
ASKS = """
import json, os, socket, sys
row = json.load(sys.stdin)
place, _, path = os.environ["OPENAI_BASE_URL"].removeprefix("http://").partition("/")
body = json.dumps({"messages": [{"role": "user", "content": row["prompt"]}]})
host, port = place.split(":")
with socket.create_connection((host, int(port))) as line:
    head = f"POST /{path}/chat/completions HTTP/1.1\\r\\nHost: {place}\\r\\nConnection: close\\r\\n"
    head += f"Authorization: Bearer {os.environ['OPENAI_API_KEY']}\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
    line.sendall((head + body).encode())
    answer = b"".join(iter(lambda: line.recv(65536), b""))
print(len(answer) % 2)
"""
"""A program that asks once, and is quick to start."""
AGENT = (sys.executable, "-I", "-S", "-c", ASKS)
SOURCES = {
    "AgentPrograms": Made(AgentPrograms(AGENT, group_size=2, max_completion_tokens=6, side_by_side=2)),
    "Demonstrations": Made(Demonstrations(), recipes.sft, PLAIN),
    "Pairs": Made(Pairs(), recipes.dpo, PLAIN),
    "StepLabels": Made(StepLabels(), recipes.process_reward_model, replace(PLAIN, steps=Lines())),
    "OnPolicy": Made(OnPolicy(group_size=3, max_completion_tokens=6)),
    "OnPolicy, redraws": Made(OnPolicy(group_size=3, max_completion_tokens=6, without_signal="redraw")),
    "OnPolicy, greedy": Made(OnPolicy(group_size=2, max_completion_tokens=6, greedy_baseline=True), recipes.remax),
    "Ahead": Made(Ahead(OnPolicy(group_size=3, max_completion_tokens=6))),
    "Ahead, redraws": Made(Ahead(OnPolicy(group_size=3, max_completion_tokens=6, without_signal="redraw"), 2)),
    "Stream": Made(Stream(OnPolicy(group_size=3, max_completion_tokens=6), segment_tokens=2), timed=True),
    "FrozenPolicy": Made(FrozenPolicy(select=AllRollouts(), **SAMPLED), recipes.rft),
    "FrozenPolicy and rows": Made(FrozenPolicy(select=AllRollouts(), demonstrations=True, **SAMPLED), recipes.rft),
    "MonteCarloSteps": Made(MonteCarloSteps(continuations=2, **SAMPLED), recipes.process_reward_model_automatic, STEPS),
}

Begin = Callable[..., DrawContext]


@pytest.fixture(params=SOURCES)
def made(request: pytest.FixtureRequest) -> Made:
    return SOURCES[request.param]


@pytest.fixture
def begin(world: Begin) -> Begin:
    """``begin(made, seed=)``: a context of its own for each; where a run begins, or after it was stopped."""

    def new(made: Made, seed: int = 7, store: Path | None = None, **options: Any) -> DrawContext:
        here = world(made.source, **{"prompts_per_step": 4} | options)
        return replace(here, task=made.task, seed=seed, store=store, asks_verdicts=made.source.asks_verdict())

    return new


def what(draw: RolloutBatch) -> tuple[Any, ...]:
    """All of a draw but seconds."""
    return draw.groups, dict(draw.position), untimed(draw.metrics), draw.sampled_tokens


def test_a_draw_is_a_function_of_seed_and_position(made: Made, begin: Begin) -> None:
    if made.timed:
        pytest.skip("its draws depend on the clock: tests/sources/test_stream.py")
    first = made.source.draw(begin(made), {})
    assert what(made.source.draw(begin(made), {})) == what(first)
    assert first.groups
    other = made.source.draw(begin(made, seed=8), {})
    assert [group.prompt.example.id for group in other.groups] != [group.prompt.example.id for group in first.groups]


def test_it_goes_on_exactly_where_it_stands(made: Made, begin: Begin, tmp_path: Path) -> None:
    """In one go, and by another process that knows the position as a checkpoint keeps it, and what the store has."""
    if made.timed:
        pytest.skip("its draws depend on the clock: tests/sources/test_stream.py")
    here, position, draws = begin(made, store=tmp_path), {}, []
    for _ in range(4):
        draws.append(made.source.draw(here, position))
        position = draws[-1].position
        assert position not in [draw.position for draw in draws[:-1]]
    for before, draw in pairwise(draws):
        resumed = begin(made, store=tmp_path)
        kept = json.loads(json.dumps(before.position))
        assert made.source.restore(resumed, kept, made.source.pending(here, before.position))
        assert what(made.source.draw(resumed, kept)) == what(draw)
    made.source.close(here)


def test_groups_are_whole(made: Made, begin: Begin) -> None:
    for group in made.source.draw(begin(made), {}).groups:
        assert group.rollouts
        for rollout in group.rollouts:
            assert rollout.prompt.key == group.prompt.key
            assert rollout.prompt.example.id == group.prompt.example.id in {row.id for row in ROWS}
            assert len(rollout.tokens) == len(rollout.mask) == len(rollout.behavior_logprobs) > 0
            assert any(rollout.mask)
            assert all(math.isfinite(logprob) and logprob <= 0 for logprob in rollout.behavior_logprobs)
            assert all(0 <= place < len(rollout.tokens) and rollout.mask[place] for place in rollout.rewards)
    sampled, size = made.source.samples_per_prompt, made.source.completions_per_prompt()
    if made.source.sampled_by() == "learner":
        assert {len(group.rollouts) for group in made.source.draw(begin(made), {}).groups} == {size} == {sampled}


def test_versions_say_who_drew_what(made: Made, begin: Begin) -> None:
    """The engine stands at version 3 when it is served; nobody else says anything of versions."""
    here = begin(made)

    def serve() -> None:
        here.engine.version = 3

    draw = made.source.draw(replace(here, serve=serve), {})
    rollouts = flatten(draw.groups)
    assert all(rollout.spans[-1][1] == len(rollout.tokens) for rollout in rollouts)
    kinds = {rollout.version for rollout in rollouts}
    expected = {"nobody": {DEMONSTRATED}, "learner": {3}, "another": {-2, 0}}[made.source.sampled_by()]
    assert kinds <= expected | ({DEMONSTRATED} if made.source.samples_from() else set())
    assert bool(draw.sampled_tokens) is (made.source.samples_per_prompt > 0)


def test_its_metrics_are_documented(made: Made, begin: Begin) -> None:
    here = begin(made)
    first = made.source.draw(here, {})
    found = first.metrics | made.source.draw(here, first.position).metrics
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    names = {re.sub(r"^(rewards|reward)/odd/", r"\1/{name}/", name) for name in found}
    ways = {name: {name, f"/{name.rpartition('/')[2]}", name.rpartition("/")[2]} for name in names}
    assert not [name for name, written in ways.items() if not any(f"`{each}`" in METRICS for each in written)]
    assert set(first.seconds) <= {"sample", "reward"}


def test_it_is_given_nothing_of_a_stage_but_the_context(made: Made, world: Begin) -> None:
    """Which is made here without one."""
    there = world(made.source)
    context = DrawContext("alone", made.task, 4, there.renderer, there.engine, seed=7)
    assert made.source.draw(replace(context, asks_verdicts=made.source.asks_verdict()), {}).groups
    assert not {each.name for each in fields(DrawContext)} & {"stage", "algorithm", "learner"}


def test_its_answers_agree_with_each_other(made: Made, begin: Begin) -> None:
    source, context = made.source, begin(made)
    samples = source.samples_per_prompt > 0
    assert samples is (source.max_completion_tokens > 0) is (source.sampling(context.renderer) is not None)
    assert samples is (source.sampled_by() != "nobody")
    assert (source.gathers(10) > 0) is bool(source.samples_from()) is (source.sampled_by() == "another")
    assert source.gathers(10) <= 10
    assert (source.of_policy(("first",), 0.0, ()) is not None) is bool(source.samples_from())
    assert source.on_trial(2).draw(replace(context, prompts_per_step=2), {}).groups
    assert source.on_trial(2).sampled_by() == source.sampled_by()
    for row in ROWS:
        prompt = source.prompt_of(context, row)
        assert prompt is not None
        assert prompt.tokens
        assert all(text.completion is not None for text in source.texts_of(row))
    algorithm = replace(made.algorithm, source=source)
    assert list(source.complaints(algorithm)) == list(source.task_complaints(algorithm, made.task)) == []
    assert list(source.remarks(algorithm)) == []
    lacking = list(source.task_complaints(algorithm, PLAIN))
    assert bool(lacking) is (samples and source.needs_reward(algorithm))
    assert Stage("stage", algorithm, made.task, 3)
