"""What a factor on all rewards, and a constant added to them, does to advantages: found by trying."""

from __future__ import annotations

from dataclasses import replace

import pytest

from groupwise import recipes
from groupwise.algorithm import Algorithm, GroupRelative
from groupwise.cli import main
from groupwise.explain import Case, Response, scale_effect, worked_case

SAME, ADDED, MOVED = (
    "leave the advantages as they are",
    "; 1 added to every reward changes none of them",
    "changes them",
)


@pytest.mark.parametrize(
    ("name", "factor", "shift"),
    [
        ("grpo", SAME, True),
        ("dapo", SAME, True),
        ("trl_1_16", "hardly change the advantages", True),  # its epsilon of 1e-4
        ("dr_grpo", "make the advantages 10 times as large", True),
        ("rpg_rkl", "make the advantages 10 times as large", True),
        ("remax", "make the advantages 10 times as large", True),
        ("online_rft", SAME, True),
        ("maxrl", SAME, True),
        ("lite_ppo", SAME, True),
        ("ppo", " to ", False),
    ],
)
def test_each_method_says_what_the_scale_does(name: str, factor: str, shift: bool) -> None:
    said = scale_effect(vars(recipes)[name], worked_case(False, False), name)
    assert said.startswith("rewards 10 times as large ")
    assert factor in said
    assert (ADDED in said) == shift
    assert (MOVED in said) == (not shift)


@pytest.mark.parametrize("name", ["sft", "dpo", "reward_model", "on_policy_distillation"])
def test_what_asks_no_rewards_says_nothing(name: str) -> None:
    algorithm: Algorithm = vars(recipes)[name]
    case = worked_case(algorithm.objective.joins_group(), algorithm.trains_scorer)
    assert scale_effect(algorithm, case, name) == ""


def test_by_hand_with_an_epsilon_of_one() -> None:
    """Two rewards, 0 and 2: mean 1, population spread 1, A = ±1/2; ten times as large ±10/11, that is 20/11."""
    old = {"old_logprobs": [-1.0]}
    case = Case([[Response([-1.0], old, reward=0.0), Response([-1.0], old, reward=2.0)]])
    algorithm = replace(recipes.dapo, advantage=GroupRelative(epsilon=1.0, ddof=0))
    assert f"make the advantages {20 / 11:.3g} times as large" in scale_effect(algorithm, case, "mine")


def test_the_page_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "grpo", "--against", "dr_grpo"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "reward scale grpo: rewards 10 times as large leave the advantages as they are" in shown
    assert "reward scale dr_grpo: rewards 10 times as large make the advantages 10 times as large" in shown
    assert "--run DIR" in shown
