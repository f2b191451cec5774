"""This module counts nouns, in one place: 1 step, 2 steps, 1,000 steps. It imports nothing."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: ``1 step``, ``3 steps``, ``2 minibatches`` where ``many`` is given."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
