"""This module mixes rows of several files with a weight each, and says which of them an epoch takes.

An epoch takes ``round(weight * rows)`` rows of every file. Below 1 that is another part of it each epoch, in turn:
of ``a.jsonl*0.3`` every row has come three times after ten epochs. Above 1 some rows, or all, come more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groupwise.errors import UserError


@dataclass(frozen=True)
class Share:
    """A share is rows of ``Task.train`` that lie side by side and have one weight."""

    name: str
    rows: int
    weight: float = 1.0

    @property
    def per_epoch(self) -> int:
        """Counts the rows that an epoch takes; at least one where there are any."""
        return max(1, round(self.weight * self.rows)) if self.rows else 0


def epoch_size(shares: Sequence[Share]) -> int:
    """Counts the rows of one epoch."""
    return sum(share.per_epoch for share in shares)


def rows_of_epoch(shares: Sequence[Share], epoch: int, orders: Sequence[Sequence[int]]) -> list[int]:
    """Returns the places in ``Task.train`` of what an epoch takes, file after file. ``orders``: for each file a
    permutation of its rows, the same for every epoch, in which they take turns."""
    found: list[int] = []
    start = 0
    for share, order in zip(shares, orders, strict=True):
        first = epoch * share.per_epoch
        found += [start + order[turn % share.rows] for turn in range(first, first + share.per_epoch)]
        start += share.rows
    return found


def weight_of(source: str) -> tuple[str, float]:
    """Returns ``("a.jsonl", 0.3)`` of ``a.jsonl*0.3``; without a weight it is 1. Raises UserError for one that is no
    positive number."""
    path, star, text = source.rpartition("*")
    if not star:
        return source, 1.0
    try:
        weight = float(text)
    except ValueError:
        return source, 1.0  # a file whose name has a star in it
    if not 0 < weight < float("inf"):
        raise UserError(f"{source}: the weight is {text}; expected a number above 0, such as {path}*0.3")
    return path, weight
