"""What would a method have done with the rollouts of a run? On ledgers as runs write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from groupwise import recipes
from groupwise.algorithm import KL, Algorithm, Outputs, gradient_coefficient
from groupwise.cli import main
from groupwise.errors import UserError
from groupwise.explain import compute, contrast, select, step_rows
from groupwise.learning.collate import signals_of
from groupwise.learning.record import StepRecord
from groupwise.ledger.files import Ledger
from groupwise.types import Group, Rollout, Score

MakeRollout = Callable[..., Rollout]
REWARDS = ((1.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.0))


@pytest.fixture
def groups(make_rollout: MakeRollout) -> list[Group]:
    """Three prompts, four answers each: the second's are all right, one of the third's is cut off. Answers of four
    tokens have a tool's among them."""
    made = []
    for number, rewards in enumerate(REWARDS):
        rollouts = []
        for place, reward in enumerate(rewards):
            length = 2 + (number + place) % 3
            mask = [not (length == 4 and index == 1) for index in range(length)]
            rollout = make_rollout((5, 6), range(7, 7 + length), mask, [-0.5] * length, {length - 1: reward})
            text = "\x1b[31m[red]answer[/red]" if number == 0 and place == 0 else f"answer {place}"
            scores = {"answer": Score(reward), "length": Score(0.5)}
            rollouts.append(replace(rollout, text=text, scores=scores, finished=(number, place) != (2, 3)))
        made.append(Group(rollouts[0].prompt, tuple(rollouts), greedy_reward=1.0))
    return made


def write(directory: Path, groups: list[Group], algorithm: Algorithm, stage: str = "rl", step: int = 1) -> None:
    """A step as a run leaves it: the learner's own pass, and its coefficients in float32."""
    signals = signals_of(groups)
    logprobs = -torch.rand(signals.mask.shape, generator=torch.Generator().manual_seed(3))
    if algorithm.needs_reference_logprobs:
        signals = replace(signals, reference_logprobs=logprobs.double() - 0.125)
    signals = algorithm.prepare(signals)
    found = gradient_coefficient(algorithm, signals, Outputs(logprobs.double()))
    assert signals.counts is not None
    coefficients = (found.cotangent.logprobs / signals.counts.sum()).float()
    record = StepRecord(step, groups, signals, logprobs, coefficients)
    Ledger(directory / "ledger").write(stage, record, {"answer": 1.0, "length": 0.0})


def test_a_run_s_own_method_finds_the_run_s_coefficients(tmp_path: Path, groups: list[Group]) -> None:
    write(tmp_path, groups, recipes.grpo)
    stage, step, rows = step_rows(tmp_path, None, None)
    assert (stage, step, len(rows)) == ("rl", 1, 12)
    drawn = select(rows, recipes.grpo, "the run")
    assert drawn.left_out == {}
    found = compute(recipes.grpo, drawn.case).responses()
    for tokens, row in zip(found, rows, strict=True):
        assert tokens.coefficients == pytest.approx(row["coefficients"], abs=1e-7)
        assert [value != 0 for value in tokens.weights] == row["mask"]


def test_other_methods_on_the_same_rollouts(tmp_path: Path, groups: list[Group]) -> None:
    write(tmp_path, groups, recipes.grpo)
    _, _, rows = step_rows(tmp_path, "rl", 1)
    dapo = select(rows, recipes.dapo, "the run")
    assert dapo.rows == [[0, 1, 2, 3], [8, 9, 10, 11]], "the group without signal would be redrawn"
    assert dapo.left_out == {"in groups without signal": 4}
    assert not any(compute(recipes.dapo, dapo.case).groups[1][3].coefficients), "it was cut off"
    pairs = select(rows, recipes.dpo, "the run")
    assert pairs.rows == [[0, 1], [10, 8]], "the best, then the worst"
    assert pairs.left_out == {"not selected": 8}
    assert [tokens.advantages[0] for tokens in compute(recipes.dpo, pairs.case).responses()] == [1, -1, 1, -1]
    assert compute(recipes.remax, select(rows, recipes.remax, "the run").case).groups[0][1].advantages[0] == -1
    several = compute(recipes.gdpo, select(rows, recipes.gdpo, "the run").case).responses()
    alone = compute(recipes.grpo, select(rows, recipes.grpo, "the run").case).responses()
    assert contrast(several[0].advantages, alone[0].advantages).cosine == pytest.approx(1.0)


def test_what_the_ledger_lacks(tmp_path: Path, groups: list[Group]) -> None:
    write(tmp_path, groups, recipes.dapo)
    _, _, rows = step_rows(tmp_path, None, 1)
    for algorithm, missing in ((recipes.grpo, "reference_logprobs"), (replace(recipes.ppo, kl=KL(0.0)), "values")):
        with pytest.raises(UserError, match=f"the run: group 0, response 0 has no {missing}"):
            compute(algorithm, select(rows, algorithm, "the run").case)
    level = [replace(group, rollouts=tuple(replace(r, rewards={0: 1.0}) for r in group.rollouts)) for group in groups]
    write(tmp_path, level, recipes.dapo, step=2)
    with pytest.raises(UserError, match="nothing is left to learn from: 12 not selected"):
        select(step_rows(tmp_path, None, 2)[2], recipes.dpo, "the run")


def test_stages_and_steps(tmp_path: Path, groups: list[Group]) -> None:
    for stage, step in (("first", 3), ("second", 3), ("second", 4)):
        write(tmp_path, groups, recipes.dapo, stage, step)
    assert step_rows(tmp_path, "second", None)[:2] == ("second", 4)
    assert step_rows(tmp_path, None, 4)[:2] == ("second", 4)
    for stage, step, message in (
        (None, 3, "has the stages first, second; --stage says which"),
        (None, 9, "no stage has step 9; there are first 3 to 3, second 3 to 4"),
        ("third", 3, "no stage third in its ledger; there are first, second"),
        ("first", 4, "stage first has no step 4; there are 3 to 3"),
    ):
        with pytest.raises(UserError, match=message):
            step_rows(tmp_path, stage, step)
    with pytest.raises(UserError, match="no ledger there"):
        step_rows(tmp_path / "first", None, None)


def test_on_the_terminal(
    tmp_path: Path, groups: list[Group], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "130")
    write(tmp_path, groups, recipes.grpo)
    assert main(["explain", "grpo", "--against", "dapo", "--run", str(tmp_path), "--step", "1"]) == 0
    said = capsys.readouterr().out
    assert "12 rollouts in 3 groups" in said
    assert "leaves out 4 of 12 rollouts, in groups without signal" in said
    assert "cosine of its gradient and the run's own: 1.0000" in said
    assert "\x1b" not in said
    assert "[red]answer" in said, "what a model writes is shown and not obeyed"
    assert main(["explain", "grpo", "--run", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert len(found["groups"]) == 3
