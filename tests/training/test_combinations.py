"""A KL in the reward changes what the advantages are, or is refused; and what one command refuses, the others do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from groupwise import NewModel, Run, Stage, recipes, tasks
from groupwise.algorithm import KL, Accepted, GroupRelative, NormalisedRewards, ProcessRelative, Signals
from groupwise.cli import main
from groupwise.runs.recipe import validate
from groupwise.training.combinations import complaints, remarks

TASK = tasks.stepwise(level=1)


def drawn() -> Signals:
    """Two groups of two completions of three tokens, scored by two rewards and at two steps; π_old is 0.1 to 1.2 nats
    from the reference on each token."""
    rewards = torch.tensor([[0.0, 0.2, 0.8], [0.0, 0.5, 0.0], [0.0, 0.9, 0.1], [0.3, 0.0, 1.0]], dtype=torch.float64)
    apart = torch.arange(1, 13, dtype=torch.float64).reshape(4, 3) / 10
    old = torch.full((4, 3), -1.0, dtype=torch.float64)
    return Signals(
        mask=torch.ones(4, 3, dtype=torch.bool),
        group=torch.tensor([0, 0, 1, 1]),
        rewards=rewards,
        rewarded=rewards > 0,
        finished=torch.ones(4, dtype=torch.bool),
        greedy_rewards=torch.full((4,), 0.5, dtype=torch.float64),
        behavior_logprobs=old,
        old_logprobs=old,
        reference_logprobs=old - apart,
        correct=torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64),
        old_values=torch.full((4, 3), 0.25, dtype=torch.float64),
        parts=torch.tensor([[0.2, 0.8], [0.5, 0.0], [0.9, 0.1], [0.3, 1.0]], dtype=torch.float64),
        part_weights=torch.ones(4, 2, dtype=torch.float64),
    )


def advantages(recipe: str, kl: KL) -> torch.Tensor:
    found = replace(vars(recipes)[recipe], kl=kl).prepare(drawn()).advantages
    assert found is not None
    return found


@pytest.mark.parametrize("place", ["reward", "advantage"])
@pytest.mark.parametrize("recipe", recipes.__all__)
def test_a_kl_in_the_reward_reaches_the_advantages_or_is_refused(recipe: str, place: Any) -> None:
    kl = KL(0.5, "k1", place=place)
    algorithm = replace(vars(recipes)[recipe], kl=kl)
    if list(complaints(algorithm)):
        return
    without = advantages(recipe, replace(kl, coefficient=0.0))
    assert not torch.allclose(advantages(recipe, kl), without)


@pytest.mark.parametrize(
    ("advantage", "why"),
    [
        (Accepted(), "it reads verdicts"),
        (ProcessRelative(), "lost between steps"),
        (NormalisedRewards(), "normalised by itself"),
        (GroupRelative(scale="mean"), "a penalty would turn negative"),
    ],
)
def test_what_a_penalty_in_the_reward_would_not_reach(advantage: Any, why: str) -> None:
    misplaced = replace(recipes.grpo, advantage=advantage, kl=KL(0.1, "k1", place="reward"))
    [said] = complaints(misplaced)
    assert why in said
    assert said.endswith("kl.place objective or advantage has it")
    assert list(complaints(replace(misplaced, kl=KL(0.1, "k1", place="advantage")))) == []
    assert list(complaints(replace(misplaced, kl=KL(0.1)))) == []


REFUSED = [
    ("grpo_process", ["--algorithm.kl.place", "reward"], "lost between steps"),
    ("gdpo", ["--algorithm.kl.place", "reward"], "each reward is normalised by itself"),
    ("online_rft", ["--algorithm.kl.coefficient", "0.1", "--algorithm.kl.place", "reward"], "it reads verdicts"),
    ("maxrl", ["--algorithm.kl.place", "reward", "--algorithm.kl.coefficient", "0.1"], "it reads verdicts"),
    ("grpo", ["--algorithm.kl.estimator", "k1"], "k1 as a loss has zero gradient"),
    ("grpo", ["--algorithm.kl.estimator", "exact", "--algorithm.kl.place", "reward"], "stands in the objective"),
    ("grpo", ["--algorithm.source.group_size", "1"], "group_size is 1"),
    ("dpo", ["--algorithm.kl.coefficient", "0.1", "--algorithm.kl.place", "reward"], "no effect on an advantage"),
    ("grpo", ["--algorithm.kl.coefficient", "nan"], "--algorithm.kl.coefficient is nan; expected a number, at least 0"),
    ("dapo", ["--algorithm.objective.low", "-0.2"], "--algorithm.objective.low is -0.2; expected a number, at least 0"),
    ("ppo", ["--algorithm.advantage.lam", "1.5"], "--algorithm.advantage.lam is 1.5; expected a number, at least 0"),
]


@pytest.mark.parametrize(("recipe", "options", "why"), REFUSED)
def test_explain_refuses_what_a_run_refuses(recipe: str, options: list[str], why: str, capsys: Any) -> None:
    for words in ([], ["--json"]):
        assert main(["explain", recipe, *options, *words]) == 2
        assert why in capsys.readouterr().err
    other = [option.replace("--algorithm", "--against.algorithm") for option in options]
    assert main(["explain", recipe, "--against", recipe, *other]) == 2


def test_explain_says_what_may_not_be_meant(capsys: Any) -> None:
    assert main(["explain", "grpo", "--algorithm.kl.weight", "stopped"]) == 0
    assert "to know             k3 with a stopped weight has another gradient" in capsys.readouterr().out
    assert main(["explain", "on_policy_distillation"]) == 0  # whose teacher is a directory, not an option's value


@pytest.mark.parametrize("recipe", recipes.__all__)
def test_no_recipe_is_refused_as_it_ships(recipe: str) -> None:
    algorithm = vars(recipes)[recipe]
    assert list(complaints(algorithm)) == []
    assert [said for said in remarks(algorithm) if "another gradient" in said] == []


def test_process_supervision_without_step_scores_is_named() -> None:
    run = Run("mine", NewModel(), (Stage("rl", recipes.grpo_process, TASK, steps=2),))
    [said] = [warning for warning in validate(run) if "step" in warning and "process" in warning]
    assert "no reward of task stepwise (answer) says that it scores steps" in said
    assert "this is outcome supervision" in said
    judged = replace(TASK, rewards=(tasks.StepRule(), *TASK.rewards))
    assert not [w for w in validate(replace(run, stages=(replace(run.stages[0], task=judged),))) if "process sup" in w]
    outcome = replace(run, stages=(replace(run.stages[0], algorithm=recipes.grpo),))
    assert not [warning for warning in validate(outcome) if "process supervision" in warning]
