"""Recipes are values: a docstring that numbers the differences, slots filled, numbers as published."""

from __future__ import annotations

import importlib
from dataclasses import FrozenInstanceError

import pytest

from groupwise import recipes
from groupwise.algorithm import (
    KL,
    Algorithm,
    ClippedRatio,
    Constant,
    GroupRelative,
    LogLikelihood,
    SequenceMean,
    Source,
)
from groupwise.sources import Demonstrations, OnPolicy


@pytest.mark.parametrize("name", recipes.__all__)
def test_every_recipe_is_a_value_with_numbered_differences(name: str) -> None:
    module = importlib.import_module(f"groupwise.recipes.{name}")
    assert isinstance(getattr(module, name), Algorithm)
    assert isinstance(getattr(module, name).source, Source)
    text = module.__doc__ or ""
    assert "\n1. " in text
    assert "arXiv" in text or "DeepSeekMath" in text
    with pytest.raises(FrozenInstanceError):
        getattr(module, name).kl = KL(1.0)


def test_supervised_row_of_the_unified_table() -> None:
    assert recipes.sft == Algorithm(Demonstrations(), Constant(1.0), LogLikelihood(), KL(0.0), SequenceMean())


def test_group_relative_row_of_the_unified_table() -> None:
    """Equation 3 with β = 0.04 (section 4.2) and k3; ε, which the paper leaves out, is 0.2."""
    assert recipes.grpo == Algorithm(
        OnPolicy(group_size=8),
        GroupRelative("group", 1, 0.0),
        ClippedRatio(0.2, 0.2),
        KL(0.04, "k3", "none"),
        SequenceMean(),
    )
