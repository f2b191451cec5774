"""Recipes that cannot mean what they say are refused in one line; those that may not be meant are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from groupwise import Demonstrations, NewModel, OnPolicy, Run, Stage, UserError, recipes, tasks
from groupwise.algorithm import (
    GAE,
    KL,
    ClippedRatio,
    ConstantLength,
    Critic,
    GroupRelative,
    LogLikelihood,
    ProcessRelative,
    Reference,
    RewardToGo,
    TruncateMismatch,
    Whitening,
)
from groupwise.rewards import ModelReward
from groupwise.runs.recipe import validate
from groupwise.tasks.task import Task
from groupwise.types import Example

UNJUDGED = Task("plain", (), held_out=(Example("1", "?"),))
STAGE = Stage("train", recipes.grpo, tasks.stepwise(level=1), steps=3)


def of(stage: Stage, **changes: Any) -> Run:
    return replace(Run("mine", NewModel(), (stage,)), **changes)


def algorithm(**slots: Any) -> Stage:
    return replace(STAGE, algorithm=replace(recipes.grpo, **slots))


REFUSED: dict[str, tuple[Run, str]] = {
    "group of one": (of(algorithm(source=OnPolicy(group_size=1))), "group_size is 1"),
    "no reward": (of(replace(STAGE, task=Task("plain", train=()))), "no reward"),
    "a quick evaluation that nothing judges": (
        of(replace(STAGE, algorithm=recipes.sft, evaluate_every=5, task=UNJUDGED)), "no reward that could say"
    ),
    "no temperature": (of(algorithm(source=OnPolicy(temperature=0.0))), "temperature is 0"),
    "group baseline on demonstrations": (
        of(replace(STAGE, algorithm=replace(recipes.sft, advantage=GroupRelative()))), "demonstrations have no rewards"
    ),
    "pairs without rewards": (
        of(replace(STAGE, algorithm=replace(recipes.dpo, advantage=GroupRelative()))), "pairs have no rewards"
    ),
    "a teacher that is nobody": (of(replace(STAGE, algorithm=recipes.on_policy_distillation)), "a teacher is missing"),
    "a reference nobody asks": (of(algorithm(kl=KL(0.0), reference=Reference("there"))), "is never asked"),
    "a refresh nobody sees": (of(algorithm(kl=KL(0.0), reference=Reference(refresh_every=4))), "can never apply"),
    "a critic nobody asks": (of(algorithm(critic=Critic("head"))), "only GAE uses its values"),
    "GAE without a critic": (of(algorithm(advantage=GAE())), "GAE needs a critic"),
    "a greedy baseline without a greedy completion": (
        of(algorithm(advantage=RewardToGo(baseline="greedy"))), "greedy completions"
    ),
    "a penalty lost between steps": (
        of(algorithm(advantage=ProcessRelative(), kl=KL(0.1, "k1", place="reward"))), "lost between steps"
    ),
    "a penalty on advantages that read no reward": (
        of(replace(STAGE, algorithm=replace(recipes.dpo, kl=KL(0.1, "k1", place="reward")))), "no effect"
    ),
    "a penalty in the reward of what a verdict accepts": (
        of(replace(STAGE, algorithm=replace(recipes.online_rft, kl=KL(0.01, "k1", place="reward")))), "no effect"
    ),
    "a judge that cannot tell": (
        of(replace(STAGE, algorithm=recipes.online_rft, task=Task("t", (), (ModelReward("somewhere"),)))),
        "the scores of its judge, reward model, only compare answers"
    ),
    "an exact penalty in the reward": (of(algorithm(kl=KL(0.1, "exact", place="reward"))), "stands in the objective"),
    "a weighted penalty in the reward": (of(algorithm(kl=KL(0.1, "k1", "live", "reward"))), "can never apply"),
    "nothing to adapt": (of(algorithm(kl=KL(0.0, "k1", place="reward", target=6.0))), "stays 0"),
    "a ceiling inside the clip": (of(algorithm(objective=ClippedRatio(ceiling=1.1))), "inside the clip"),
    "a dual clip that flips": (of(algorithm(objective=ClippedRatio(dual=0.5))), "would flip"),
    "no round of sampling": (of(algorithm(source=OnPolicy(most_rounds=0))), "most_rounds is 0"),
    "a frozen policy without a reward": (
        of(replace(STAGE, algorithm=recipes.rft, task=Task("plain", train=()))), "chosen by one"
    ),
    "demonstrations among pairs": (
        of(replace(STAGE, algorithm=replace(
            recipes.dpo_normalised, source=replace(recipes.dpo_normalised.source, demonstrations=True)
        ))), "cannot stand among pairs"
    ),
    "k1 as a loss": (of(algorithm(kl=KL(0.1, "k1"))), "k1 as a loss"),
    "no steps": (of(replace(STAGE, steps=0)), "steps"),
    "more minibatches than prompts": (of(replace(STAGE, prompts_per_step=2, minibatches=3)), "3 minibatches"),
    "no stages": (of(STAGE, stages=()), "no stages"),
    "one name twice": (of(STAGE, stages=(STAGE, STAGE)), "two stages named train"),
    "a name that is a path": (of(STAGE, name="../elsewhere"), "'../elsewhere'"),
    "a stage in the place of the first model": (of(replace(STAGE, name="new")), "models/new"),
    "a stage without a name": (of(replace(STAGE, name="")), "''"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    recipe, words = REFUSED[name]
    with pytest.raises(UserError) as caught:
        validate(recipe)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_named() -> None:
    """Unweighted k3 off-policy, and a clip that never applies."""
    assert any("k3" in warning for warning in validate(of(replace(STAGE, epochs=2))))
    assert any("never apply" in warning for warning in validate(of(STAGE)))
    weighted = algorithm(kl=KL(0.04, weight="live"))
    assert validate(of(replace(weighted, epochs=2))) == []


NAMED: dict[str, tuple[Stage, str]] = {
    "other gradient in the objective": (algorithm(kl=KL(0.1, "k2", "live")), "another gradient"),
    "other gradient in the reward": (algorithm(kl=KL(0.1, "k3", place="reward")), "k1 has it"),
    "a length that is none": (algorithm(aggregation=ConstantLength(99)), "meant to be equal"),
    "normalised twice": (algorithm(whitening=Whitening("tokens")), "normalised twice"),
    "a correction of nothing": (algorithm(correction=TruncateMismatch()), "correction is 1"),
    "no ratio": (replace(algorithm(objective=LogLikelihood(), kl=KL(0.0)), epochs=2), "gradient is biased"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_named_one_by_one(name: str) -> None:
    stage, words = NAMED[name]
    assert any(words in warning for warning in validate(of(stage)))


@pytest.mark.parametrize("name", [name for name in recipes.__all__ if name != "on_policy_distillation"])
def test_every_recipe_passes_as_it_ships(name: str) -> None:
    """Nothing refused, and no gradient that is another than it seems, but that of a method for several updates a draw
    (tests/recipes/test_settings.py)."""
    said = validate(of(replace(STAGE, algorithm=vars(recipes)[name])))
    assert not [each for each in said if "gradient" in each and "every ratio is 1, and" not in each]


def test_a_sound_recipe_says_nothing() -> None:
    supervised = replace(STAGE, algorithm=recipes.sft)
    assert isinstance(supervised.algorithm.source, Demonstrations)
    assert validate(of(supervised)) == []
    assert validate(of(replace(STAGE, algorithm=replace(recipes.grpo, kl=KL(0.1, "k1", "live")), epochs=2))) == []
