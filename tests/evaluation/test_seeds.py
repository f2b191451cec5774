"""Means and differences over seeds, against numbers of published tables and by hand."""

from __future__ import annotations

import pytest

from groupwise.evaluation.seeds import difference_over_seeds, mean_over_seeds, t_quantile


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622), (10, 2.2281), (30, 2.0423)],
)
def test_a_quantile_is_the_tables(freedom, quantile):
    assert t_quantile(freedom) == pytest.approx(quantile, abs=5e-5)


def test_a_quantile_tends_to_the_normal_one():
    assert t_quantile(3000) == pytest.approx(1.96, abs=1e-3)


def test_a_mean_over_three_seeds():
    """1, 2, 3: the deviation is 1, the half width 4.3027 / sqrt(3)."""
    found = mean_over_seeds([1.0, 2.0, 3.0])
    assert found.value == 2
    assert found.high - 2 == pytest.approx(2.48413, abs=1e-4)
    assert 2 - found.low == pytest.approx(found.high - 2)


def test_pairs_of_seeds_take_out_what_both_share():
    before, after = [0.1, 0.5, 0.9], [0.2, 0.6, 1.0]
    paired = difference_over_seeds(before, after, paired=True)
    apart = difference_over_seeds(before, after, paired=False)
    assert paired.value == pytest.approx(0.1) == apart.value
    assert paired.low == pytest.approx(0.1)
    assert apart.low < 0 < apart.high


def test_welch_by_hand():
    """Variances 1 and 4 over 3 and 3 seeds: 5/3 = s²; freedom (5/3)² / (1/9/2 + 16/9/2) = 2.94, down to 2."""
    found = difference_over_seeds([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], paired=False)
    assert found.value == 2
    assert found.high - 2 == pytest.approx(4.30265 * (5 / 3) ** 0.5, abs=1e-4)


def test_seeds_that_are_all_alike_have_no_width():
    found = difference_over_seeds([1.0, 1.0], [2.0, 2.0], paired=False)
    assert (found.low, found.value, found.high) == (1, 1, 1)


def test_one_seed_is_no_interval():
    with pytest.raises(ValueError, match="at least 2"):
        mean_over_seeds([1.0])
    with pytest.raises(ValueError, match="at least 2"):
        difference_over_seeds([1.0], [1.0, 2.0], paired=False)
