"""A stream samples all the time: groups come as they finish, under several weights, none lost and none twice."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_replay import FromLedger

import groupwise as gw
from groupwise import OnPolicy, Stage, recipes
from groupwise.errors import UserError
from groupwise.ledger.files import Ledger
from groupwise.rewards import as_reward
from groupwise.runs.recipe import validate
from groupwise.sinks import Sinks
from groupwise.sources import DrawContext, Position, RolloutBatch, Stream
from groupwise.tasks.task import Task
from groupwise.types import Example

Open = Callable[..., DrawContext]
INNER = OnPolicy(group_size=3, max_completion_tokens=12)
STREAM = Stream(INNER, max_staleness=2, segment_tokens=3)
SMALL = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
ROWS = tuple(Example(f"row:{number}", chr(48 + number)) for number in range(64))
STEPS = 6


def odd(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text) % 2) for text in completions]


class Heard(Sinks):
    """Keeps the numbers; cuts the run once after the step ``cut``, as its metrics come."""

    def __init__(self, cut: int = 0) -> None:
        super().__init__()
        self.cut = cut
        self.rows: dict[int, dict[str, float]] = {}

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.rows[step] = dict(values)
        if step == self.cut:
            raise KeyboardInterrupt


def recipe(source: Any) -> gw.Run:
    task = Task("rows", ROWS, (as_reward(odd, isolated=False),), held_out=ROWS[:2])
    algorithm = replace(recipes.grpo, source=source)
    stage = Stage("train", algorithm, task, STEPS, 2, learning_rate=1e-2, checkpoint_every=2, evaluate_every=4)
    learner = gw.Local(device="cpu", threads=1)
    evaluation = gw.HeldOut(problems=0, sampled_problems=0, during=2)
    return gw.Run("mine", SMALL, (stage,), learner=learner, evaluation=evaluation, evaluate_first=False)


def test_the_learner_is_replayed_from_the_ledger_to_the_byte(tmp_path: Path) -> None:
    heard = Heard()
    gw.run(recipe(STREAM), tmp_path / "run", sinks=[heard])
    weights = (tmp_path / "run" / "models" / "train" / "model.safetensors").read_bytes()
    gw.run(recipe(FromLedger(tmp_path / "run" / "ledger")), tmp_path / "again", sinks=[Heard()])
    assert (tmp_path / "again" / "models" / "train" / "model.safetensors").read_bytes() == weights
    assert all(row["staleness"] <= 2 for row in heard.rows.values())
    assert {"groups_stale", "groups_waiting", "seconds/engine_waited"} <= heard.rows[6].keys()


def test_nothing_is_skipped_and_nothing_comes_twice(tmp_path: Path) -> None:
    """A run cut after step 3 goes on from step 2: every prompt that was begun is learned from, dropped, or still
    open."""
    with pytest.raises(KeyboardInterrupt):
        gw.run(recipe(STREAM), tmp_path, sinks=[Heard(cut=3)])
    saved = json.loads((tmp_path / "checkpoints" / "train-000002" / "groupwise_progress.json").read_text())
    heard = Heard()
    gw.run(recipe(STREAM), tmp_path, sinks=[heard])
    learned = Counter(
        row["example"] for step in range(STEPS) for row in Ledger(tmp_path / "ledger").read("train", step + 1)
    )
    assert set(learned.values()) == {3}, "a group is whole, and comes once in the first epoch"
    assert len(learned) == 2 * STEPS
    assert len(saved["position"]["open"]) == saved["position"]["prompts"] - 4
    end = json.loads((tmp_path / "checkpoints" / "train-000006" / "groupwise_progress.json").read_text())["position"]
    stale = sum(row["groups_stale"] for row in heard.rows.values())
    assert end["prompts"] - len(end["open"]) - stale <= 2 * STEPS


def versions_of(draw: RolloutBatch) -> list[tuple[tuple[int, int], ...]]:
    return [rollout.spans for group in draw.groups for rollout in group.rollouts]


def test_what_is_too_old_is_dropped_and_counted(world: Open) -> None:
    """Groups that were finished at step 0 wait until step 3: others are then drawn."""
    here = world(STREAM, ROWS, prompts_per_step=2)
    first = STREAM.draw(here.at(0, {}), {})
    work = here.threads[0]
    while len(work.ready) < 6:
        time.sleep(0.01)
    later = STREAM.draw(here.at(3, first.position), first.position)
    STREAM.close(here)
    assert later.metrics["groups_stale"] == 6
    names = [group.prompt.example.id for draw in (first, later) for group in draw.groups]
    assert len(set(names)) == 4


def test_a_slow_completion_holds_nobody(world: Open) -> None:
    """Of two rows one is answered at once and the other never while the step waits; what comes is what is done."""
    here = world(STREAM, ROWS, prompts_per_step=2)
    engine = here.engine
    stream = engine.stream
    slow = tuple(here.renderer.prompt(ROWS[0]).tokens)

    class Holding:
        """Gives the parts of one prompt last."""

        def __init__(self, *options: Any) -> None:
            self.inner = stream(*options)
            self.held: list[int] = []

        def submit(self, request: Any) -> int:
            number = int(self.inner.submit(request))
            self.held += [number] if request.tokens == slow else []
            return number

        def events(self) -> Iterator[Any]:
            late = []
            for event in self.inner.events():
                if event.request in self.held:
                    late.append(event)
                else:
                    yield event
            yield from late

        def cancel(self, number: int) -> None:
            self.inner.cancel(number)

        def close(self) -> None:
            self.inner.close()

    engine.stream = Holding
    position: Position = {}
    seen: list[str] = []
    for step in range(4):
        draw = STREAM.draw(here.at(step, position), position)
        position, seen = draw.position, [*seen, *(group.prompt.example.id for group in draw.groups)]
    STREAM.close(here)
    assert len(set(seen)) == 8


def test_what_is_unfinished_goes_on_under_new_weights(world: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same weights under another number a completion is the same, whatever parts it was drawn in."""
    plain = INNER.draw(world(INNER, prompts_per_step=8), {})
    here = world(STREAM, prompts_per_step=2)
    engine = here.engine

    def copied() -> Callable[[], None]:
        return lambda: setattr(engine, "version", engine.version + 1)

    expected = {group.prompt.example.id: [r.tokens for r in group.rollouts] for group in plain.groups}
    logprobs = {group.prompt.example.id: [r.behavior_logprobs for r in group.rollouts] for group in plain.groups}
    position: Position = {}
    seen, spans = set[str](), []
    for step in range(3):
        draw = STREAM.draw(here.at(step, position).but(copy_weights=copied), position)
        position = draw.position
        for group in draw.groups:
            name = group.prompt.example.id
            if name in expected:
                assert [r.tokens for r in group.rollouts] == expected[name]
                for own, whole in zip(group.rollouts, logprobs[name], strict=True):
                    assert own.behavior_logprobs == pytest.approx(whole, abs=1e-5)
            assert name not in seen
            seen.add(name)
        spans += versions_of(draw)
    STREAM.close(here)
    assert len(seen) == 6
    assert all(end > 0 for each in spans for _, end in each)


def test_what_scoring_raises_is_heard_and_closing_ends_it(world: Open) -> None:
    def failing(completions: Sequence[str], **columns: Any) -> list[float]:
        raise ZeroDivisionError("in the reward")

    here = world(STREAM, rewards=(as_reward(failing, isolated=False),), prompts_per_step=2)
    with pytest.raises(UserError, match="in the reward"):
        STREAM.draw(here, {})
    STREAM.close(here)
    assert not here.threads


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(UserError, match="no greedy completion beside a group; Ahead does"):
        validate(recipe(Stream(replace(INNER, greedy_baseline=True))))


def test_groups_without_signal_do_not_hold_a_run_for_ever(tmp_path: Path) -> None:
    """Every reward is the same, so that every group is dropped: after so many rounds a step goes on with none."""

    def same(completions: Sequence[str], **columns: Any) -> list[float]:
        return [1.0] * len(completions)

    run = recipe(replace(STREAM, source=replace(INNER, without_signal="redraw", most_rounds=2)))
    task = replace(run.stages[0].task, rewards=(as_reward(same, isolated=False),))
    heard = Heard()
    gw.run(replace(run, stages=(replace(run.stages[0], task=task, steps=2),)), tmp_path, sinks=[heard])
    assert [heard.rows[step]["groups_short"] for step in (1, 2)] == [2.0, 2.0]
    assert all(row["groups_dropped"] >= 4 for row in heard.rows.values())


def test_a_pause_leaves_engine_and_rewards_alone(world: Open) -> None:
    """An evaluation asks both next."""
    asked: list[int] = []

    def slow(completions: Sequence[str], **columns: Any) -> list[float]:
        asked.append(1)
        time.sleep(0.05)
        asked.append(-1)
        return odd(completions)

    context = world(STREAM, ROWS, rewards=(as_reward(slow, isolated=False),), prompts_per_step=2)
    STREAM.draw(context, {})
    STREAM.pause(context)
    before = len(asked)
    assert sum(asked) == 0
    time.sleep(0.2)
    assert len(asked) == before
    STREAM.close(context)
