"""When two numbers are the same but for rounding: one tolerance, in one place. Imports nothing of ours.

Weights such as 0.7 + 0.2 + 0.1 sum to 0.9999999999999999, and 0.1 + 0.2 is not 0.3 in floating point: such a difference
is neither a verdict nor a signal. ``algorithm.rounding`` says the same of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

TOLERANCE = 1e-9
"""Relative to the larger of two magnitudes."""


def same(a: float, b: float) -> bool:
    """Whether they differ by no more than rounding does."""
    return math.isclose(a, b, rel_tol=TOLERANCE)


def reaches(value: float, threshold: float) -> bool:
    """Whether a value is at least the threshold, or below it by no more than rounding is."""
    return value >= threshold or same(value, threshold)


def differ(values: Iterable[float]) -> bool:
    """Whether some of them differ by more than rounding does; of fewer than two none do."""
    known = list(values)
    return len(known) > 1 and not same(min(known), max(known))
