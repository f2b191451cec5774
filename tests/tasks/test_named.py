"""Tasks by name, as ``--task`` takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.rewards import by_name as rewards_by_name
from groupwise.tasks import StepRule, by_name, stepwise

ROWS = [{"question": f"{n} + 1 = ?", "answer": f"so\n#### {n + 1}"} for n in range(4)]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(tmp_path / "rows.jsonl")


def test_stepwise():
    assert by_name("stepwise") == stepwise()
    assert by_name("stepwise:3", problems=7) == stepwise(level=3, held_out_size=7)


def test_gsm8k_from_a_file_is_all_held_out(rows):
    task = by_name(f"gsm8k:{rows}")
    assert (task.name, len(task.train), len(task.held_out)) == ("gsm8k", 0, 4)
    assert [reward.name for reward in task.rewards] == ["answer"]


@pytest.mark.parametrize("spec", ["leg_counting", "gym:leg_counting"])
def test_a_reasoning_gym_family(spec):
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    task = by_name(spec)
    assert (task.name, len(task.held_out)) == ("leg_counting", 200)


def test_data_with_a_reward_are_all_held_out(rows):
    task = by_name(rows, ["math"], system="Be brief.")
    assert (task.name, len(task.train), len(task.held_out)) == ("rows", 0, 4)
    assert [reward.name for reward in task.rewards] == ["math"]
    assert task.system == "Be brief."


def test_a_reward_replaces_a_tasks_own():
    assert [reward.name for reward in by_name("stepwise", ["math"]).rewards] == ["math"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("stepwize", "unknown task stepwize: perhaps you meant stepwise"),
        ("gsm9k", "perhaps you meant gsm8k"),
        ("zzzzzz", "unknown task zzzzzz: expected stepwise"),
        ("stepwise:many", "no such level"),
        ("rows.jsonl", "data need a reward"),
        ("org/rows", "data need a reward"),
        ("gsm8k:nowhere.jsonl", "no such file"),
    ],
)
def test_an_unknown_task(spec, message):
    with pytest.raises(UserError, match=message):
        by_name(spec)


def test_a_family_by_a_slightly_wrong_name():
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    with pytest.raises(UserError, match="perhaps you meant leg_counting"):
        by_name("leg_countin")


def test_the_step_rule_by_its_name() -> None:
    """It scores each line, and the final answer says what is right in evaluation."""
    task = by_name("stepwise:1", ["steps", "answer"], problems=3)
    assert [reward.name for reward in task.rewards] == ["steps", "answer"]
    assert [reward.name for reward in task.referee] == ["answer"]
    assert isinstance(task.rewards[0], StepRule)
    assert task.rewards[0].scores_steps
    assert by_name("stepwise", ["answer"], problems=3).referee == ()
    assert len(by_name("stepwise").train) == 100_000
    with pytest.raises(UserError, match=r"reward 'steps' is the rule of the task stepwise .* process:DIR scores steps"):
        rewards_by_name("steps")
