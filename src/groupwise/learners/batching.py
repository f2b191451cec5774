"""This module chooses which rows go through the network together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from groupwise.types import Rollout

GROWTH = 32
"""A micro-batch that is too small for all rows to find a place becomes larger by this part of it."""


LEAST_APART = 8
"""Idle rows go apart where they have one in so many of all tokens: another pass has a cost of its own."""


def micro_batches(
    rollouts: Sequence[Rollout],
    budget: int,
    together: Sequence[int] | None = None,
    padded: bool = False,
    idle: frozenset[int] = frozenset(),
) -> Iterator[list[int]]:
    """Yields row numbers, longest sequences first, in batches of at most ``budget`` tokens.

    A prompt that rows of a batch share counts once, and its rows stay together where they fit; ``padded``: what counts
    is the rectangle instead. Rows with one number in ``together`` stay together in any case; where they exceed the
    budget by themselves they go alone. Where all rows of a prompt are ``idle`` they come last, apart from others.
    """
    families = _families(rollouts, together)
    for part in _apart(rollouts, families, idle) if idle else (families,):
        yield from _batches(rollouts, part, budget, padded)


def _batches(
    rollouts: Sequence[Rollout], families: Sequence[Sequence[list[int]]], budget: int, padded: bool
) -> Iterator[list[int]]:
    batch = _Batch(rollouts, padded)
    for family in families:
        whole = [row for unit in family for row in unit]
        if batch.rows and batch.size(whole) > budget >= _Batch(rollouts, padded).size(whole) and not padded:
            yield batch.rows
            batch = _Batch(rollouts, padded)
        for unit in family:
            if batch.rows and batch.size(unit) > budget:
                yield batch.rows
                batch = _Batch(rollouts, padded)
            batch.add(unit)
    if batch.rows:
        yield batch.rows


def _apart(
    rollouts: Sequence[Rollout], families: Sequence[Sequence[list[int]]], idle: frozenset[int]
) -> Iterator[list[Sequence[list[int]]]]:
    """Yields the families of which a row is not idle, then the others; all at once where those are few."""
    tokens = {True: 0, False: 0}
    parts: dict[bool, list[Sequence[list[int]]]] = {True: [], False: []}
    for family in families:
        silent = all(row in idle for unit in family for row in unit)
        parts[silent].append(family)
        tokens[silent] += sum(rollouts[row].length for unit in family for row in unit)
    if tokens[True] * LEAST_APART < tokens[False]:
        yield list(families)
        return
    yield from (parts[False], parts[True])


def even_micro_batches(
    rollouts: Sequence[Rollout],
    budget: int,
    side_by_side: int,
    together: Sequence[int] | None = None,
    padded: bool = False,
    idle: frozenset[int] = frozenset(),
) -> list[list[int]]:
    """Returns micro-batches of which ``side_by_side`` are computed at a time: in as few rounds as ``budget`` allows,
    and with nearly the same number of tokens in each, so that none waits for another."""
    found = list(micro_batches(rollouts, budget, together, padded, idle))
    most = -(-len(found) // side_by_side) * side_by_side
    size = -(-sum(tokens_together(rollouts, rows, padded) for rows in found) // max(most, 1))
    while size < budget:
        even = list(micro_batches(rollouts, size, together, padded, idle))
        if len(even) <= most:
            return even
        size += size // GROWTH + 1
    return found


def tokens_together(rollouts: Sequence[Rollout], rows: Sequence[int], padded: bool) -> int:
    """Counts the tokens of one micro-batch, as its budget counts them."""
    return _Batch(rollouts, padded).size(rows)


class _Batch:
    """This holds rows that go together, and how much room they take."""

    def __init__(self, rollouts: Sequence[Rollout], padded: bool) -> None:
        self.rollouts, self.padded = rollouts, padded
        self.rows: list[int] = []
        self.prompts: set[bytes] = set()
        self.tokens = self.longest = self.sequences = 0

    def size(self, more: Sequence[int]) -> int:
        """Returns how many tokens it has with these rows too."""
        rollouts = [self.rollouts[row] for row in more]
        longest = max(self.longest, *(rollout.length for rollout in rollouts))
        if self.padded:
            return (self.sequences + sum(len(rollout.sequences) for rollout in rollouts)) * longest
        prompts = {each.prompt.key: len(each.prompt.tokens) for each in rollouts if len(each.prompt.tokens) > 1}
        new = sum(length for key, length in prompts.items() if key not in self.prompts)
        new += sum(len(each.prompt.tokens) == 1 for each in rollouts)  # those are shared by nobody
        return self.tokens + new + sum(len(rollout.tokens) for rollout in rollouts)

    def add(self, more: Sequence[int]) -> None:
        rollouts = [self.rollouts[row] for row in more]
        self.tokens = 0 if self.padded else self.size(more)
        self.longest = max(self.longest, *(rollout.length for rollout in rollouts))
        self.sequences += sum(len(rollout.sequences) for rollout in rollouts)
        self.rows += more
        self.prompts.update(rollout.prompt.key for rollout in rollouts)


def _families(rollouts: Sequence[Rollout], together: Sequence[int] | None) -> list[list[list[int]]]:
    """Returns rows that must stay together, gathered by the prompt of the longest of them; longest first throughout."""
    lengths = [rollout.length for rollout in rollouts]
    units: dict[int, list[int]] = {}
    for row in sorted(range(len(rollouts)), key=lambda row: (-lengths[row], row)):
        units.setdefault(row if together is None else together[row], []).append(row)
    families: dict[bytes, list[list[int]]] = {}
    for unit in units.values():
        families.setdefault(rollouts[unit[0]].prompt.key, []).append(unit)
    return list(families.values())
