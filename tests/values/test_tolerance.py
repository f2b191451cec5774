"""One tolerance for rounding: relative, whatever the size of the numbers."""

from __future__ import annotations

import pytest

from groupwise.values.tolerance import differ, reaches, same


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (0.1 + 0.2, 0.3, True),
        (0.7 + 0.2 + 0.1, 1.0, True),
        (1.0, 1.0 + 2e-9, False),
        (1e-200, 1e-200 * (1 + 1e-12), True),
        (1e-200, 2e-200, False),
        (1e17, 1e17 + 16, True),
        (1e308, -1e308, False),
        (0.0, -0.0, True),
        (0.0, 5e-324, False),
    ],
)
def test_two_numbers_are_the_same_but_for_rounding(a: float, b: float, equal: bool) -> None:
    assert same(a, b) == same(b, a) == equal
    assert differ([a, b]) == (not equal)


def test_a_sum_of_weights_reaches_its_threshold() -> None:
    assert [reaches(value, 1.0) for value in (0.7 + 0.2 + 0.1, 1.0, 2.0, 0.999999)] == [True, True, True, False]
    assert reaches(-0.5, -0.5)
    assert not reaches(-1e-17, 0.0)


def test_one_number_or_none_does_not_differ() -> None:
    assert [differ(values) for values in ([], [0.3], [0.0, 0.3, 0.0])] == [False, False, True]
