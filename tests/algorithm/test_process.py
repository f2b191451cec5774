"""Pooled step scores put a price on every further step: counted out exactly, as the recipe's text says it.

A policy takes at most three steps, one token each. In each it goes on with probability 1/2, which scores 0.3, or 0.9 in
the third; where it stops, that step scores 0.2, 0.1 or 0.5.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import torch

from groupwise.algorithm import GroupRelative, ProcessRelative, Signals

P = Fraction(1, 2)
"""Of going on."""
SIZE = 4
"""Completions of a group."""


class Way(NamedTuple):
    """What can happen: how likely that is, the score of each step, and in which steps the policy went on."""

    probability: Fraction
    scores: tuple[Fraction, ...]
    went_on: tuple[bool, ...]

    def push(self, advantages: Sequence[float]) -> float:
        """Of the probability of going on: the sum over steps of A · ∂ log π / ∂p."""
        slopes = [1 / P if on else -1 / (1 - P) for on in self.went_on]
        return sum(advantage * float(slope) for advantage, slope in zip(advantages, slopes, strict=False))


def tenths(*scores: int) -> tuple[Fraction, ...]:
    return tuple(Fraction(score, 10) for score in scores)


WAYS = (
    Way(1 - P, tenths(2), (False,)),
    Way(P * (1 - P), tenths(3, 1), (True, False)),
    Way(P**2 * (1 - P), tenths(3, 3, 5), (True, True, False)),
    Way(P**3, tenths(3, 3, 9), (True, True, True)),
)
GROUPS = list(itertools.product(WAYS, repeat=SIZE))
"""All 256 of them."""


def signals() -> Signals:
    """Every group there can be, each completion a row."""
    rows = [way for group in GROUPS for way in group]
    rewards, mask = torch.zeros(len(rows), 3, dtype=torch.float64), torch.zeros(len(rows), 3, dtype=torch.bool)
    for row, way in enumerate(rows):
        rewards[row, : len(way.scores)] = torch.tensor([float(score) for score in way.scores], dtype=torch.float64)
        mask[row, : len(way.scores)] = True
    group = torch.arange(len(GROUPS)).repeat_interleave(SIZE)
    return Signals(mask, group, rewards, mask, torch.ones(len(rows), dtype=torch.bool))


def expected_push(advantages: torch.Tensor) -> float:
    """The mean over groups, each as likely as its four completions are, of the mean over its completions."""
    rows, total = advantages.tolist(), 0.0
    for number, group in enumerate(GROUPS):
        chance = float(torch.tensor([float(way.probability) for way in group], dtype=torch.float64).prod())
        of_group = rows[number * SIZE : (number + 1) * SIZE]
        total += chance * sum(way.push(row) for way, row in zip(group, of_group, strict=True)) / SIZE
    return total


def spreads() -> torch.Tensor:
    """``[B, 1]``: the standard deviation of all step scores of each row's group."""
    found = []
    for group in GROUPS:
        scores = [score for way in group for score in way.scores]
        mean = sum(scores) / len(scores)
        found.append(float(sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5)
    return torch.tensor(found, dtype=torch.float64).repeat_interleave(SIZE)[:, None]


def test_the_ways_are_all_there_are() -> None:
    assert sum(way.probability for way in WAYS) == 1


def test_the_derivative_of_the_mean_reward() -> None:
    """Exactly 6/5, from the ways themselves: ∂J/∂p = Σ P(way) · R(way) · ∂ log P(way) / ∂p."""
    found = sum(
        way.probability * sum(way.scores) * sum(1 / P if on else -1 / (1 - P) for on in way.went_on) for way in WAYS
    )
    assert found == Fraction(6, 5)


def test_an_outcome_reward_has_it_in_groups_of_four() -> None:
    advantage = GroupRelative(scale="none", baseline="others")
    assert abs(expected_push(advantage.advantages(signals())) - 1.2) < 1e-12


def test_pooled_step_scores_have_less_than_half_of_it() -> None:
    """Those of the method times the spread that it divides by."""
    advantages = ProcessRelative(ddof=0).advantages(signals()) * spreads()
    assert round(expected_push(advantages), 4) == 0.4688
    by_completion = ProcessRelative(ddof=0, last_step="completion").advantages(signals()) * spreads()
    torch.testing.assert_close(by_completion, advantages)  # every step here is one token, the last one too


def test_so_do_scores_less_the_exact_mean() -> None:
    """The mean of all steps, which the policy takes 7/4 of: a price of that mean on every further one."""
    steps = sum(way.probability * len(way.scores) for way in WAYS)
    mean = sum(way.probability * sum(way.scores) for way in WAYS) / steps
    assert steps == Fraction(7, 4)
    found = Fraction(0)
    for way in WAYS:
        slopes = [1 / P if on else -1 / (1 - P) for on in way.went_on]
        to_go = [sum(score - mean for score in way.scores[place:]) for place in range(len(way.scores))]
        found += way.probability * sum(a * slope for a, slope in zip(to_go, slopes, strict=True))
    assert found == Fraction(3, 5)
    more_steps = sum(way.probability * len(way.scores) * sum(2 if on else -2 for on in way.went_on) for way in WAYS)
    assert Fraction(6, 5) - mean * more_steps == found
