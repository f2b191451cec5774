"""This module holds a mean over problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.evaluation.statistics import mean_interval


@dataclass(frozen=True)
class Measure:
    """A measure is a mean over problems with its 95 % interval, and each problem's value so that two models can be
    paired."""

    value: float
    low: float
    high: float
    by_problem: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Measure:
        """Returns the mean of per-problem values and its ``statistics.mean_interval``."""
        interval = mean_interval(values)
        return cls(interval.value, interval.low, interval.high, tuple(values))

    def at(self, rows: Sequence[int]) -> Measure:
        """Returns the measure of these problems alone."""
        return Measure.of([self.by_problem[row] for row in rows])

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measure:
        """Reads what JSON keeps of one."""
        return cls(values["value"], values["low"], values["high"], tuple(values["by_problem"]))
