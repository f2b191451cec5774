"""This module compares two methods on the same rollouts: where their gradients agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Contrast:
    """A contrast is of the coefficients of all tokens, one number for each method and token."""

    cosine: float | None
    """Of the two gradients in log-probability space, -1 to 1; None where one of them is 0 everywhere."""
    size: float | None
    """Norm of the first over that of the second; None where the second is 0."""
    opposed: float
    """Share of tokens that one pushes up and the other down."""
    alone: tuple[float, float]
    """Shares of tokens that only the first, and only the second, pushes at all."""


def contrast(first: Sequence[float], second: Sequence[float]) -> Contrast:
    """Compares two lists of the same length, at least 1."""
    pairs = list(zip(first, second, strict=True))
    norms = [math.hypot(*values) for values in (first, second)]
    return Contrast(
        cosine=sum((a / norms[0]) * (b / norms[1]) for a, b in pairs) if all(norms) else None,
        size=norms[0] / norms[1] if norms[1] else None,
        opposed=sum(min(a, b) < 0 < max(a, b) for a, b in pairs) / len(pairs),
        alone=(
            sum(a != 0 and b == 0 for a, b in pairs) / len(pairs),
            sum(a == 0 and b != 0 for a, b in pairs) / len(pairs),
        ),
    )
