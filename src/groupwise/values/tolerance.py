"""This module says when two numbers are the same but for rounding: one tolerance, in one place. Imports nothing of
ours.

Weights such as 0.7 + 0.2 + 0.1 sum to 0.9999999999999999, and 0.1 + 0.2 is not 0.3 in floating point: such a difference
is neither a verdict nor a signal. ``algorithm.rounding`` says the same of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

TOLERANCE = 1e-9
"""Relative to the larger of two magnitudes."""
LARGE, SMALL = 1e100, 1e-100


def same(a: float, b: float) -> bool:
    """Says whether they differ by no more than rounding does."""
    return math.isclose(a, b, rel_tol=TOLERANCE)


def reaches(value: float, threshold: float) -> bool:
    """Says whether a value is at least the threshold, or below it by no more than rounding is."""
    return value >= threshold or same(value, threshold)


def differ(values: Iterable[float]) -> bool:
    """Says whether some of them differ by more than rounding does; of fewer than two none do."""
    known = list(values)
    return len(known) > 1 and not same(min(known), max(known))


def in_range(values: Sequence[float]) -> tuple[Sequence[float], float]:
    """The values times a power of two, so that their squares and sums stay in the range of a float; and that power. It
    is 1 but for magnitudes beyond 1e100 or below 1e-100."""
    magnitude = max(map(abs, values), default=0.0)
    factor = 2.0**-600 if magnitude > LARGE else 2.0**600 if 0 < magnitude < SMALL else 1.0
    return [value * factor for value in values], factor


def classes(values: Sequence[float]) -> list[int]:
    """Returns for each value the number of its class: equal but for rounding is one class, numbered from the smallest
    up."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    found, number = [0] * len(values), 0
    for before, place in pairwise(order):
        number += not same(values[before], values[place])
        found[place] = number
    return found
