"""This module says when rewards differ by more than rounding does, and how to normalise them whatever their size.

0.1 + 0.2 is not 0.3 in floating point. Divided by its own standard deviation such a difference would be an advantage of
full strength, so numbers of a unit (a group, a batch) that differ by at most ``TOLERANCE`` of the largest magnitude
among them count as equal. It is the tolerance of ``groupwise.values.tolerance``, in tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from groupwise.algorithm.signals import group_mean, group_sum

TOLERANCE = 1e-9
"""Relative to the largest magnitude of the unit."""
LARGE, SMALL = 1e100, 1e-100  # beyond, squares or sums of numbers can leave the range of float64


def largest(values: Tensor, counted: Tensor, unit: Tensor) -> Tensor:
    """Returns ``[B]``: the largest magnitude of each row's unit, over its counted rows; 0 where there are none."""
    _, inverse = unit.unique(return_inverse=True)
    size = int(inverse.max()) + 1 if inverse.numel() else 0
    magnitudes = values.new_zeros(size).scatter_reduce(0, inverse[counted], values[counted].abs(), "amax")
    return magnitudes[inverse]


def range_factor(values: Tensor, counted: Tensor, unit: Tensor) -> Tensor:
    """Returns ``[B]``: a power of two that each row's values can be multiplied by so that the statistics of its unit
    stay in the range of float64. It is 1 but for magnitudes beyond 1e100 or below 1e-100, and it changes no digit."""
    magnitude = largest(values, counted, unit)
    one = torch.ones_like(magnitude)
    small = torch.where((magnitude < SMALL) & (magnitude > 0), 2.0**600, one)
    return torch.where(magnitude > LARGE, 2.0**-600, small)


def all_equal(values: Tensor, counted: Tensor, unit: Tensor) -> Tensor:
    """Returns ``[B]`` bool: whether the counted values of each row's unit are equal but for rounding."""
    _, inverse = unit.unique(return_inverse=True)
    size, place, known = int(inverse.max()) + 1 if inverse.numel() else 0, inverse[counted], values[counted]
    high = values.new_full((size,), -torch.inf).scatter_reduce(0, place, known, "amax")
    low = values.new_full((size,), torch.inf).scatter_reduce(0, place, known, "amin")
    return (high - low <= TOLERANCE * torch.maximum(high.abs(), low.abs()))[inverse]


def within_float(values: Tensor) -> Tensor:
    """Returns the same, held at the largest finite number."""
    most = torch.finfo(values.dtype).max
    return values.clamp(-most, most)


def centre(values: Tensor, counted: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Computes ``values - mean`` over the counted rows of each unit, 0 elsewhere; and whether all of the unit's are
    equal but for rounding.

    Shifting by one of the unit's own values first makes equality exact: a - a is 0, a mean of equal floats may not be.
    """
    _, inverse = unit.unique(return_inverse=True)
    units = int(inverse.max()) + 1 if inverse.numel() else 0
    anchor = values.new_zeros(units).index_copy(0, inverse[counted], values[counted])[inverse]
    shifted = torch.where(counted, values - anchor, 0.0)
    equal = all_equal(values, counted, unit)
    return torch.where(counted, shifted - group_mean(shifted, counted, unit), 0.0), equal


def deviation(values: Tensor, counted: Tensor, unit: Tensor, ddof: int) -> tuple[Tensor, Tensor]:
    """Returns ``[B]``: the standard deviation of each row's unit, over its counted rows; and whether all of them are
    equal but for rounding."""
    centred, equal = centre(values, counted, unit)
    degrees = group_sum(counted.double(), unit) - ddof
    return (group_sum(centred.square(), unit) / degrees.clamp(min=1)).sqrt(), equal


def normalise(values: Tensor, counted: Tensor, unit: Tensor, ddof: int, epsilon: float) -> Tensor:
    """Returns ``[B]``: (value - mean) / (std + epsilon) over the counted rows of each unit; 0 where they are all equal,
    and in rows that are not counted."""
    factor = range_factor(values, counted, unit)
    centred, equal = centre(values * factor, counted, unit)
    std, _ = deviation(values * factor, counted, unit, ddof)
    return torch.where(equal | ~counted, 0.0, centred / torch.where(equal, 1.0, std + epsilon * factor))
