"""Recipes that cannot mean what they say are refused in one line; those that may not be meant are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from groupwise import Demonstrations, NewModel, OnPolicy, Run, Stage, UserError, recipes, tasks
from groupwise.algorithm import KL, GroupRelative
from groupwise.runs import check
from groupwise.tasks.task import Task

STAGE = Stage("train", recipes.grpo, tasks.stepwise(level=1), steps=3)


def of(stage: Stage, **changes: Any) -> Run:
    return replace(Run("mine", NewModel(), (stage,)), **changes)


def algorithm(**slots: Any) -> Stage:
    return replace(STAGE, algorithm=replace(recipes.grpo, **slots))


REFUSED: dict[str, tuple[Run, str]] = {
    "group of one": (of(algorithm(source=OnPolicy(group_size=1))), "group_size is 1"),
    "no reward": (of(replace(STAGE, task=Task("plain", train=()))), "no reward"),
    "no temperature": (of(algorithm(source=OnPolicy(temperature=0.0))), "temperature is 0"),
    "group baseline on demonstrations": (
        of(replace(STAGE, algorithm=replace(recipes.sft, advantage=GroupRelative()))), "demonstrations have no rewards"
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
        check(recipe)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_named() -> None:
    """Unweighted k3 off-policy, and a clip that never applies."""
    assert any("k3" in warning for warning in check(of(replace(STAGE, epochs=2))))
    assert any("never apply" in warning for warning in check(of(STAGE)))
    weighted = algorithm(kl=KL(0.04, weight="live"))
    assert check(of(replace(weighted, epochs=2))) == []


def test_a_sound_recipe_says_nothing() -> None:
    supervised = replace(STAGE, algorithm=recipes.sft)
    assert isinstance(supervised.algorithm.source, Demonstrations)
    assert check(of(supervised)) == []
    assert check(of(replace(STAGE, algorithm=replace(recipes.grpo, kl=KL(0.1, "k1", "live")), epochs=2))) == []
