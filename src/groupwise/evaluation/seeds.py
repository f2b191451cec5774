"""This module says how sure a mean over seeds is: Student's t, since seeds are few."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import atan, cos, pi, sin, sqrt
from statistics import fmean, variance

from groupwise.evaluation.statistics import Interval


def mean_over_seeds(values: Sequence[float]) -> Interval:
    """Returns the mean of one value a seed with its 95 % t interval. Raises ValueError for fewer than two."""
    if len(values) < 2:
        raise ValueError(f"an interval over seeds needs at least 2 of them, got {len(values)}")
    half = t_quantile(len(values) - 1) * sqrt(variance(values) / len(values))
    return _around(fmean(values), half)


def difference_over_seeds(before: Sequence[float], after: Sequence[float], paired: bool) -> Interval:
    """Returns the mean of ``after`` minus that of ``before`` with its 95 % interval over seeds.

    ``paired``: the values at one place are of one seed; otherwise Welch's, with its degrees of freedom rounded down.
    Raises ValueError for fewer than two seeds on a side, and for unequal numbers of paired ones.
    """
    if paired:
        return mean_over_seeds([b - a for a, b in zip(before, after, strict=True)])
    if min(len(before), len(after)) < 2:
        raise ValueError(f"a difference over seeds needs at least 2 a side, got {len(before)} and {len(after)}")
    value = fmean(after) - fmean(before)
    shares = [variance(side) / len(side) for side in (before, after)]
    total = sum(shares)
    if total == 0:
        return _around(value, 0.0)
    of_each = sum(share**2 / (len(side) - 1) for share, side in zip(shares, (before, after), strict=True))
    return _around(value, t_quantile(max(1, int(total**2 / of_each))) * sqrt(total))


@cache
def t_quantile(freedom: int, level: float = 0.95) -> float:
    """Returns what Student's t stays below in size with probability ``level``."""
    low, high = 0.0, 1.0
    while _within(high, freedom) < level:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """P(|T| < t), in closed form for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(freedom))
    square = cos(angle) ** 2
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for number in range(2 + odd, freedom + 1, 2):
        total += term
        term *= square * (number - 1) / number
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total


def _around(value: float, half: float) -> Interval:
    return Interval(value, value - half, value + half)
