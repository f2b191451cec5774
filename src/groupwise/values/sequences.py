"""This module says where the sequences of one episode begin, of which a network reads one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

SequenceIds = tuple[tuple[int, ...], tuple[int, ...]]
"""The ids of a prompt and those behind it."""


def sequences_of(
    prompt: tuple[int, ...], tokens: tuple[int, ...], mask: Sequence[bool], restarts: Sequence[int]
) -> tuple[SequenceIds, ...]:
    """Returns the sequences of an episode, which begin behind ``prompt`` and at each of ``restarts``. Raises ValueError
    for one that begins with what was sampled.

    ``sequences_of((1,), (2, 3, 4, 5), (True, False, False, True), (1,))`` is ``(((1,), (2,)), ((3, 4), (5,)))``.
    """
    if not restarts:
        return ((prompt, tokens),)
    found = [(prompt, tokens[: restarts[0]])]
    for start, end in pairwise((*restarts, len(tokens))):
        first = next((place for place in range(start, end) if mask[place]), end)
        if first == start:
            raise ValueError(f"the sequence at token {start} has no prompt: expected tokens of mask 0 before others")
        found.append((tokens[start:first], tokens[first:end]))
    return tuple(found)
