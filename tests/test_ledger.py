"""Every rollout is kept, and read back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from groupwise import recipes
from groupwise.ledger import Ledger
from groupwise.types import Group, Rollout, Score
from groupwise.update import StepRecord, signals_of


def record_of(step: int, groups: list[Group]) -> StepRecord:
    signals = recipes.grpo.prepare(signals_of(groups))
    shape = signals.mask.shape
    logprobs = torch.arange(float(signals.mask.numel())).view(shape) * -0.5
    return StepRecord(step, groups, signals, logprobs, logprobs / 4)


@pytest.fixture
def groups(make_rollout: Callable[..., Rollout]) -> list[Group]:
    first = make_rollout((5, 6), (7, 8, 9), (True, False, True), (-0.5, 0.0, -0.25), {2: 1.0})
    first = replace(first, text="é \ud800", scores={"math": Score(1.0), "format": Score(None, "not_applicable")})
    second = replace(make_rollout((5, 6), (7,), behavior=(-0.75,), rewards={0: 0.0}), scores={"math": Score(0.0)})
    third = make_rollout((4,), (1, 2))
    return [Group(first.prompt, (first, second)), Group(third.prompt, (third,))]


def test_a_step_comes_back(tmp_path: Path, groups: list[Group]) -> None:
    ledger = Ledger(tmp_path)
    ledger.write("stage", record_of(1, groups))
    rows = ledger.read("stage", 1)
    assert [row["group"] for row in rows] == [0, 0, 1]
    first, second, third = rows
    assert first["prompt_tokens"] == [5, 6]
    assert first["tokens"] == [7, 8, 9]
    assert first["mask"] == [True, False, True]
    assert first["behavior_logprobs"] == [-0.5, 0.0, -0.25]
    assert first["logprobs"] == [0.0, -0.5, -1.0]
    assert first["coefficients"] == [0.0, -0.125, -0.25]
    assert first["reward"] == 1.0
    assert first["reward_tokens"] == [2]
    assert first["scores"]["math"] == 1.0
    assert first["statuses"]["format"] == "not_applicable"
    assert first["text"] == "é ?"
    assert first["advantages"] == pytest.approx([0.5**0.5, 0, 0.5**0.5])
    assert second["logprobs"] == [-1.5]
    assert third["reward"] is None
    assert third["reward_values"] == []
    assert third["advantages"] == [0.0, 0.0]


def test_what_rewards_said_beside_their_values_is_kept(tmp_path: Path, groups: list[Group]) -> None:
    first, *rest = groups[0].rollouts
    said = Score(1.0, logged={"acc": 1.0}, extras={"pred": "é", "parts": [1, None]})
    groups[0] = replace(groups[0], rollouts=(replace(first, scores={"mine": said, "plain": Score(0.0)}), *rest))
    ledger = Ledger(tmp_path)
    ledger.write("stage", record_of(1, groups))
    rows = ledger.read("stage", 1)
    assert json.loads(rows[0]["extras"]) == {"mine": {"acc": 1.0, "pred": "é", "parts": [1, None]}}
    assert [row["extras"] for row in rows[1:]] == [None, None]


def test_a_step_written_again_replaces_itself(tmp_path: Path, groups: list[Group]) -> None:
    ledger = Ledger(tmp_path)
    for step in (10, 2, 10):
        ledger.write("stage", record_of(step, groups[: 1 if step == 2 else 2]))
    ledger.write("other", record_of(1, groups[1:]))
    assert ledger.steps("stage") == [2, 10]
    assert ledger.steps("other") == [1]
    assert ledger.steps("none") == []
    assert len(ledger.read("stage", 10)) == 3
    assert [path.suffix for path in (tmp_path / "stage").iterdir()] == [".parquet"] * 2
    with pytest.raises(FileNotFoundError):
        ledger.read("stage", 3)
