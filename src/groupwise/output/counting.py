"""This module counts nouns, in one place: 1 step, 2 steps, 1,000 steps. It imports nothing."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: ``1 step``, ``3 steps``, ``2 minibatches`` where ``many`` is given."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def signed(value: float, digits: int = 3) -> str:
    """Returns a difference with its sign; what rounds to nothing is ``+0.000``, not ``-0.000``."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"
