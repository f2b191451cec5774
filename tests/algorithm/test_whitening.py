"""Whitening over the draw: mean 0 and variance 1 over what counts, exactly 0 where nothing differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from groupwise.algorithm import Whitening

MASK = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
RAW = torch.tensor([[1.0, 2.0, 3.0], [6.0, 99.0, 99.0], [99.0, 99.0, 99.0]], dtype=torch.float64)


def test_tokens() -> None:
    """1, 2, 3, 6: mean 3, variance 14/3."""
    found = Whitening("tokens", epsilon=0.0).whitened(RAW, MASK)
    expected = (torch.tensor([1.0, 2.0, 3.0, 6.0]).double() - 3) / (14 / 3) ** 0.5
    torch.testing.assert_close(found[MASK], expected)
    assert not found[~MASK].any()


def test_sequences() -> None:
    """Row means 2 and 6: mean 4, Bessel's deviation √8; an empty row is none."""
    found = Whitening("sequences", epsilon=0.0).whitened(RAW, MASK)
    torch.testing.assert_close(found[MASK], (RAW[MASK] - 4) / 8**0.5)


def test_without_shift_the_mean_stays() -> None:
    found = Whitening("tokens", shift=False).whitened(RAW, MASK)[MASK]
    assert float(found.mean()) == pytest.approx(3.0)
    assert float(found.std()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("unit", ["tokens", "sequences"])
def test_equal_advantages_are_exactly_zero(unit: Any) -> None:
    """Also where rounding would leave noise to divide by."""
    level = torch.full((8, 3), 0.9).double() + 0.1 - 0.1
    everything = torch.ones(8, 3, dtype=torch.bool)
    assert not Whitening(unit, epsilon=0.0).whitened(level, everything).any()


def test_off_it_changes_nothing() -> None:
    assert Whitening().whitened(RAW, MASK) is RAW
    assert Whitening().formula() == ""
