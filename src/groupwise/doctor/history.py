"""This module is what alarms read: a stage's rows of metrics.jsonl, and means over the last of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, variance
from typing import Any

Row = Mapping[str, Any]
WINDOW = 10
"""Steps that a mean is taken over: chance moves a single step."""


def values(rows: Sequence[Row], name: str) -> list[float]:
    """Returns the values of the rows that have the metric."""
    return [row[name] for row in rows if row.get(name) is not None]


def last_mean(rows: Sequence[Row], name: str, window: int) -> float | None:
    """Returns the mean over the last ``window`` rows; None where one of them lacks it."""
    found = values(rows[-window:], name)
    return fmean(found) if len(found) == window else None


def first_mean(rows: Sequence[Row], name: str, window: int) -> float | None:
    """Returns the mean over the first ``window`` rows, where the last ones are others."""
    found = values(rows[:window], name)
    return fmean(found) if len(found) == window and len(rows) >= 2 * window else None


def rose(older: Sequence[float], newer: Sequence[float], errors: float = 2.0) -> bool:
    """Says whether the mean did, by more than so many standard errors (Welch's)."""
    if min(len(older), len(newer)) < 2:
        return False
    error = math.sqrt(variance(older) / len(older) + variance(newer) / len(newer))
    return fmean(newer) - fmean(older) > errors * error


def robust_z(value: float, before: Sequence[float]) -> tuple[float, float]:
    """Returns ``(value / median, standard deviations above it)`` on a logarithmic scale, of positive numbers.

    The deviation is 1.4826 times the median absolute one, which single outliers do not move (a normal distribution's
    standard deviation), and at least a hundredth.
    """
    logs = [math.log(each) for each in before]
    middle = median(logs)
    spread = max(1.4826 * median(abs(each - middle) for each in logs), 0.01)
    return math.exp(math.log(value) - middle), (math.log(value) - middle) / spread
