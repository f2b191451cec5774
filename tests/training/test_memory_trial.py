"""Before the first step the longest one is tried, and nothing of the run changes by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import HeldOut, Local, Native, OnPolicy, Run, Stage, recipes
from groupwise.errors import UserError
from groupwise.learners import dry_step
from groupwise.learners.local import LocalLearner
from groupwise.rewards import as_reward
from groupwise.runs.session import run
from groupwise.sinks import Sinks
from groupwise.sources import DrawContext
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.training.memory_trial import longest_rollouts
from groupwise.training.stage import draw_context
from groupwise.types import Example

ROWS = tuple(Example(f"row:{n}", "+" * n + "=", completion="!" * (20 - n)) for n in range(1, 19))


class Heard(Sinks):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def letters(completions: list[str], **columns: Any) -> list[float]:
    return [float(sum(map(ord, text)) % 7) for text in completions]


def world(open_learner: Any, algorithm: Any, rows: Any = ROWS) -> tuple[Stage, DrawContext]:
    learner = open_learner(threads=1)
    stage = Stage("stage", algorithm, Task("rows", rows, (as_reward(letters),)), 2, 3)
    renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
    return stage, draw_context(
        stage, renderer, Native().open(learner.directory, learner.live_module(), learner.tokenizer), seed=0
    )


def test_sampled_completions_are_as_long_as_they_may_get_behind_the_longest_prompt(open_learner: Any) -> None:
    there = world(open_learner, replace(recipes.grpo, source=OnPolicy(group_size=4, max_completion_tokens=9)))
    rollouts = longest_rollouts(*there, 60)
    assert {len(rollout.tokens) for rollout in rollouts} == {9}
    longest = len(there[1].renderer.prompt(ROWS[-1]).tokens)
    assert {len(rollout.prompt.tokens) for rollout in rollouts} == {longest}
    assert sum(len(rollout.tokens) for rollout in rollouts) + longest >= 60
    assert len(rollouts) <= 3 * 4
    assert len(longest_rollouts(*there, 10**9)) == 3 * 4  # a step has no more


def test_demonstrations_are_the_longest_rows(open_learner: Any) -> None:
    there = world(open_learner, recipes.sft)
    sizes = {len(each.prompt.tokens) + len(each.tokens) for each in longest_rollouts(*there, 100)}
    every = [there[1].renderer.demonstration(row) for row in ROWS]
    assert max(sizes) == max(len(each.prompt.tokens) + len(each.tokens) for each in every)


def test_pairs_stand_together(open_learner: Any) -> None:
    rows = [replace(row, columns={"chosen": "yes" * n, "rejected": "no"}) for n, row in enumerate(ROWS, 1)]
    rollouts = longest_rollouts(*world(open_learner, recipes.dpo, rows), 100)
    assert len(rollouts) % 2 == 0
    assert len(rollouts[0].tokens) > len(rollouts[1].tokens)


def test_what_no_row_allows_is_left_to_the_stage_itself(open_learner: Any) -> None:
    assert longest_rollouts(*world(open_learner, recipes.dpo), 100) == []
    there = world(open_learner, replace(recipes.grpo, source=OnPolicy(max_completion_tokens=1000)))
    assert longest_rollouts(*there, 100) == []


def recipe(model: Path, steps: int = 2) -> Run:
    algorithm = replace(recipes.grpo, source=OnPolicy(group_size=4, max_completion_tokens=6))
    stage = Stage("stage", algorithm, Task("rows", ROWS, (as_reward(letters),)), steps, 2, learning_rate=1e-2)
    return Run("rehearsed", str(model), (stage,), Local(threads=1), evaluation=HeldOut(problems=0))


def test_a_run_that_rehearsed_is_the_run_that_did_not(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(recipe(tiny_model), tmp_path / "plain", sinks=[])
    monkeypatch.setattr(dry_step, "SAFE_SHARE", 0.0)
    heard = Heard()
    tried = run(recipe(tiny_model), tmp_path / "tried", sinks=[heard])
    assert any("the longest there can be, fits: tried in" in note for note in heard.notes)
    weights = [(outcome.model / "model.safetensors").read_bytes() for outcome in (plain, tried)]
    assert weights[0] == weights[1]


def test_memory_fails_before_the_first_step(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def outputs(self: LocalLearner, *rest: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(dry_step, "SAFE_SHARE", 0.0)
    monkeypatch.setattr(LocalLearner, "_outputs", outputs)
    with pytest.raises(UserError, match=r"memory ran out on .* tokens that must go through the network together"):
        run(recipe(tiny_model), tmp_path / "run", sinks=[])
    assert not (tmp_path / "run").exists()  # nothing was spent


class Killed(BaseException):
    """The process is gone."""


def test_a_budget_that_shrank_is_that_of_the_resumed_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is short once in the first process, which is killed later; the second one continues with what it
    learned."""
    passed, calls, out = LocalLearner._outputs, [], tmp_path / "run"

    def outputs(self: LocalLearner, *rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        if len(calls) == 9:
            raise Killed
        return passed(self, *rest)

    monkeypatch.setattr(LocalLearner, "_outputs", outputs)
    [stage] = recipe(tiny_model, 5).stages
    saving = replace(recipe(tiny_model), stages=(replace(stage, checkpoint_every=1),))
    with pytest.raises(Killed):
        run(saving, out, sinks=[])
    budgets, passed_on = [], LocalLearner.read

    def read(self: LocalLearner, directory: Path) -> None:
        passed_on(self, directory)
        budgets.append(self.memory.tokens_per_micro_batch)

    monkeypatch.setattr(LocalLearner, "read", read)
    run(saving, out, sinks=[])
    assert len(budgets) == 1
    assert budgets[0] < 100
    assert len([json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]) == 5
