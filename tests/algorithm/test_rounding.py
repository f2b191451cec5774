"""Rewards that are equal but for rounding are no signal; and no size of rewards makes an advantage infinite."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from groupwise import recipes
from groupwise.algorithm import (
    Accepted,
    Advantage,
    GroupRelative,
    NormalisedRewards,
    ProcessRelative,
    Signals,
    Whitening,
)
from groupwise.algorithm.preferences import better_pairs
from groupwise.algorithm.rounding import TOLERANCE
from groupwise.values import tolerance

ADVANTAGES: dict[str, Advantage] = {
    "grpo": GroupRelative(),
    "dr_grpo": GroupRelative(scale="none"),
    "lite_ppo": GroupRelative(scale="batch"),
    "mean": GroupRelative(scale="mean"),
    "rloo": GroupRelative(scale="none", baseline="others"),
    "trl": GroupRelative(epsilon=1e-4),
    "population": GroupRelative(ddof=0),
    "gdpo": NormalisedRewards(epsilon=0.0),
    "process": ProcessRelative(),
}
NOISE = {
    "tenths": [0.1 + 0.2, 0.3],
    "weights": [0.7 + 0.2 + 0.1, 1.0, 1.0, 0.9999999999999999],
    "tiny": [1e-200, 1e-200 * (1 + 1e-15)],
    "large": [1e17, 1e17 + 16],
    "huge": [1.7e308, 1.7e308 * (1 - 1e-15)],
    "negative": [-0.1 - 0.2, -0.3],
}
SIZES = [1e-320, 1e-300, 1e-200, 1e-110, 1e-90, 1e-9, 1e9, 1e90, 1e110, 1e200, 1e300, 1.7e308]


def signals(rewards: list[float], parts: list[list[float]] | None = None, **more: Any) -> Signals:
    """One token a row, all of one prompt."""
    column = torch.tensor(rewards, dtype=torch.float64)[:, None]
    here = torch.ones_like(column, dtype=torch.bool)
    several = {}
    if parts:
        table = torch.tensor(parts, dtype=torch.float64)
        several = {"parts": table, "part_weights": torch.ones_like(table)}
    group = torch.zeros(len(rewards), dtype=torch.int64)
    return Signals(here, group, column, here, here[:, 0], **several, **more)


def test_there_is_one_tolerance() -> None:
    assert TOLERANCE == tolerance.TOLERANCE == 1e-9


@pytest.mark.parametrize("rewards", NOISE.values(), ids=NOISE)
@pytest.mark.parametrize("name", ADVANTAGES)
def test_rounding_is_no_advantage(name: str, rewards: list[float]) -> None:
    assert ADVANTAGES[name].advantages(signals(rewards)).abs().max() == 0
    assert not tolerance.differ(rewards)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ADVANTAGES)
def test_no_size_of_rewards_makes_an_advantage_infinite(name: str, size: float) -> None:
    """Normalised advantages are those of rewards of ordinary size."""
    pattern = [1.0, 0.0, 0.5, 1.0]
    found = ADVANTAGES[name].advantages(signals([size * value for value in pattern]))
    assert found.isfinite().all()
    assert found[0] > 0 > found[1]
    if name in ("grpo", "lite_ppo", "mean", "population", "gdpo", "process") and size > 1e-300:
        expected = ADVANTAGES[name].advantages(signals(pattern))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_opposite_ends_of_the_range(name: str) -> None:
    found = ADVANTAGES[name].advantages(signals([1e308, -1e308, 1.0, 1e308]))
    assert found.isfinite().all()
    if name != "mean":  # whose divisor is the mean
        assert found[0] > 0 > found[1]


def test_a_mean_that_cancels_is_no_divisor() -> None:
    assert not GroupRelative(scale="mean").advantages(signals([0.1, 0.2, -0.1 - 0.2])).any()


def test_rewards_that_cancel_each_other_leave_nothing_to_normalise() -> None:
    """Two rewards that say the opposite, in thirds that floating point cannot add up."""
    rows = [[1 / 3, 1.0], [2 / 3, 0.5], [1.0, 0.0], [0.1, 1.35]]
    assert not NormalisedRewards(epsilon=0.0).advantages(signals([sum(row) for row in rows], rows)).any()


def test_whitening_leaves_rounding_alone() -> None:
    everything = torch.ones(2, 2, dtype=torch.bool)
    noise = torch.tensor([[0.3, 0.1 + 0.2], [0.3, 0.3]], dtype=torch.float64)
    assert not Whitening("tokens", epsilon=0.0).whitened(noise, everything).any()
    for size in (1e-200, 1e200, 1e308):
        raw = torch.tensor([[size, -size], [size, 0.0]], dtype=torch.float64)
        found = Whitening("tokens", epsilon=0.0).whitened(raw, everything)
        torch.testing.assert_close(found, Whitening("tokens", epsilon=0.0).whitened(raw / size, everything))


def test_a_pair_for_a_reward_model_differs_by_more_than_rounding() -> None:
    given = signals([0.3, 0.1 + 0.2, 0.0])
    prepared = GroupRelative().advantages(given)
    better, worse = better_pairs(signals([0.3, 0.1 + 0.2, 0.0], advantages=prepared))
    assert sorted(zip(better.tolist(), worse.tolist(), strict=True)) == [(0, 2), (1, 2)]


def test_only_the_verdict_is_accepted() -> None:
    """A wrong answer that was rewarded, a right one that was punished, one without a verdict, a demonstration."""
    nan = float("nan")
    given = signals(
        [2.0, -5.0, 9.0, 0.0, 0.0],
        correct=torch.tensor([0.0, 1.0, nan, nan, 0.0], dtype=torch.float64),
        demonstrated=torch.tensor([False, False, False, True, False]),
    )
    assert Accepted().advantages(given)[:, 0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert recipes.rft.advantage == recipes.online_rft.advantage == Accepted()
    assert recipes.online_rft.needs_verdicts
    assert not recipes.grpo.needs_verdicts
    with pytest.raises(ValueError, match="needs the judge's verdicts"):
        Accepted().advantages(signals([1.0]))


def test_maxrl_divides_by_the_pass_rate_whatever_else_is_rewarded() -> None:
    """One right of four, rewarded +1 and -1 (whose mean is negative), with a penalty, or with a bonus for the wrong."""
    verdicts = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    advantage = recipes.maxrl.advantage
    for rewards in ([1.0, 0.0, 0.0, 0.0], [1.0, -1.0, -1.0, -1.0], [-0.5, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]):
        found = advantage.advantages(signals(rewards, correct=verdicts))[:, 0]
        assert found.tolist() == [3.0, -1.0, -1.0, -1.0]
    none, every = torch.zeros(2).double(), torch.ones(2).double()
    assert not advantage.advantages(signals([1.0, 2.0], correct=none)).any()
    assert not advantage.advantages(signals([1.0, 2.0], correct=every)).any()
    unscored = torch.tensor([1.0, 0.0, torch.nan], dtype=torch.float64)
    assert advantage.advantages(signals([0.0] * 3, correct=unscored))[:, 0].tolist() == [1.0, -1.0, 0.0]
