"""Which groups have a signal, for a method that compares turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch

from groupwise import recipes
from groupwise.algorithm import TurnToGo
from groupwise.learning.collate import signals_of
from groupwise.sources.reward_metrics import signal_of, turns_differ
from groupwise.types import Group

Attempt = tuple[str, Mapping[int, float]]
"""The mask as text, and the rewards by token."""


def group_of(scored_group: Callable[..., Group], attempts: tuple[Attempt, ...]) -> Group:
    plain = scored_group(*[("", 0.0)] * len(attempts))
    rollouts = [
        replace(
            rollout,
            tokens=(7,) * len(mask),
            mask=tuple(sign == "1" for sign in mask),
            behavior_logprobs=(-1.0,) * len(mask),
            rewards=rewards,
        )
        for rollout, (mask, rewards) in zip(plain.rollouts, attempts, strict=True)
    ]
    return replace(plain, rollouts=tuple(rollouts))


@pytest.mark.parametrize(
    ("attempts", "signal"),
    [
        ((("1", {0: 1.0}), ("1", {0: 0.0})), True),
        ((("101", {2: 1.0}), ("101", {2: 1.0})), False),
        ((("101", {0: 0.3, 2: 0.7}), ("101", {0: 0.7, 2: 0.3})), True),  # the sums are equal, the second turns are not
        ((("101", {0: 0.3, 2: 0.3}), ("101", {0: 0.3, 2: 0.3})), False),
        ((("101", {0: 0.3, 2: 0.3}), ("1", {0: 0.3})), True),  # all scores are equal, what is to come is not
        ((("101", {2: 1.0}), ("1", {0: 1.0})), True),  # one alone reached the second turn, and has no baseline there
        ((("101", {2: 0.0}), ("1", {0: 0.0})), False),
        ((("101", {2: 0.1 + 0.2}), ("101", {2: 0.3})), False),
        ((("101", {}), ("101", {2: 1.0})), False),
        ((("101", {}), ("1", {})), False),
        ((("101", {2: 1.0}),), False),
    ],
)
def test_a_group_has_a_signal_where_turns_can_be_told_apart(
    attempts: tuple[Attempt, ...], signal: bool, scored_group: Callable[..., Group]
) -> None:
    """And then alone has it an advantage: of one completion nothing is said."""
    group = group_of(scored_group, attempts)
    assert turns_differ(group) == signal
    found = TurnToGo().advantages(signals_of([group]))
    if sum(bool(rewards) for _, rewards in attempts) > 1:
        assert bool(found.any()) == signal


def test_methods_of_turns_see_turns() -> None:
    assert {signal_of(vars(recipes)[name]) for name in ("turn_to_go", "gigpo")} == {turns_differ}


def test_ids_are_known_also_of_what_was_heard(scored_group: Callable[..., Group]) -> None:
    group = group_of(scored_group, (("101", {2: 1.0}), ("1", {0: 0.0})))
    found = signals_of([group]).tokens
    assert found is not None
    assert found.dtype == torch.int64
    assert found.tolist() == [[7, 7, 7], [7, 0, 0]]
