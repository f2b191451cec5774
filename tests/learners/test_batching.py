"""Which rows go through the network together, and that they fit."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from groupwise.learners.batching import even_micro_batches, micro_batches
from groupwise.types import Example, Prompt, Rollout

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), min_size=1, max_size=20)
"""Which of four prompts, of 5, 10, 15 and 20 tokens; tokens after it."""


def row_of(prompt: int, tokens: int) -> Rollout:
    ids = (prompt,) * (5 * prompt + 5)
    return Rollout(Prompt(Example("", ""), ids), (6,) * tokens, (True,) * tokens, (0.0,) * tokens, "", True, 0)


def packed(rollouts: list[Rollout]) -> int:
    prompts = {rollout.prompt.tokens for rollout in rollouts}
    return sum(map(len, prompts)) + sum(len(rollout.tokens) for rollout in rollouts)


def padded(rollouts: list[Rollout]) -> int:
    return len(rollouts) * max(len(rollout.prompt.tokens) + len(rollout.tokens) for rollout in rollouts)


@given(rows=ROWS, budget=st.integers(1, 200), rectangle=st.booleans())
def test_every_row_once_within_the_budget(rows: list[tuple[int, int]], budget: int, rectangle: bool) -> None:
    """A row that exceeds the budget by itself goes alone."""
    rollouts = [row_of(*row) for row in rows]
    batches = list(micro_batches(rollouts, budget, padded=rectangle))
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    for batch in batches:
        size = (padded if rectangle else packed)([rollouts[row] for row in batch])
        assert len(batch) == 1 or size <= budget


@given(rows=ROWS, budget=st.integers(1, 200), data=st.data(), rectangle=st.booleans())
def test_what_belongs_together_stays_together(
    rows: list[tuple[int, int]], budget: int, data: st.DataObject, rectangle: bool
) -> None:
    together = data.draw(st.lists(st.integers(0, 4), min_size=len(rows), max_size=len(rows)))
    rollouts = [row_of(*row) for row in rows]
    batches = list(micro_batches(rollouts, budget, together, rectangle))
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    homes = {(together[row], number) for number, batch in enumerate(batches) for row in batch}
    assert len(homes) == len(set(together))
    for batch in batches:
        size = (padded if rectangle else packed)([rollouts[row] for row in batch])
        assert len({together[row] for row in batch}) == 1 or size <= budget


@given(rows=ROWS, budget=st.integers(1, 200), seed=st.integers(0, 9))
def test_the_order_of_rows_changes_nothing(rows: list[tuple[int, int]], budget: int, seed: int) -> None:
    """But which of several like rows goes where."""
    mixed = random.Random(seed).sample(rows, len(rows))
    first, second = (
        [sorted(map(given.__getitem__, batch)) for batch in micro_batches([row_of(*row) for row in given], budget)]
        for given in (sorted(rows), mixed)
    )
    assert sorted(map(len, first)) == sorted(map(len, second)) or len({sum(row) for row in rows}) < len(rows)


def test_a_family_that_fits_is_not_split() -> None:
    """Prompts of 5 and 10 tokens with two completions of 20 each: 45 and 50 tokens."""
    rollouts = [row_of(prompt, 20) for prompt in (0, 1, 0, 1)]
    assert list(micro_batches(rollouts, 94)) == [[1, 3], [0, 2]]
    assert list(micro_batches(rollouts, 95)) == [[1, 3, 0, 2]]
    assert list(micro_batches(rollouts, 45)) == [[1], [3], [0, 2]]
    assert list(micro_batches([], 8)) == []


def test_pairs_by_hand() -> None:
    """Completions of 3, 1, 2 and 3 tokens after one prompt of 5."""
    rollouts = [row_of(0, tokens) for tokens in (3, 1, 2, 3)]
    assert list(micro_batches(rollouts, 11)) == [[0, 3], [2, 1]]
    assert list(micro_batches(rollouts, 14)) == [[0, 3, 2, 1]]
    assert list(micro_batches(rollouts, 13, together=[7, 7, 9, 9])) == [[0, 1], [3, 2]]
    assert list(micro_batches(rollouts, 16, padded=True)) == [[0, 3], [2, 1]]
    assert list(micro_batches(rollouts, 16, together=[7, 7, 9, 9], padded=True)) == [[0, 1], [3, 2]]


@given(rows=ROWS, budget=st.integers(1, 200), count=st.integers(1, 4), rectangle=st.booleans())
def test_side_by_side_no_more_rounds_than_the_budget_needs(
    rows: list[tuple[int, int]], budget: int, count: int, rectangle: bool
) -> None:
    rollouts = [row_of(*row) for row in rows]
    even = even_micro_batches(rollouts, budget, count, padded=rectangle)
    assert sorted(row for batch in even for row in batch) == list(range(len(rows)))
    for batch in even:
        size = (padded if rectangle else packed)([rollouts[row] for row in batch])
        assert len(batch) == 1 or size <= budget
    plain = list(micro_batches(rollouts, budget, padded=rectangle))
    assert -(-len(even) // count) == -(-len(plain) // count)


def test_what_fits_into_one_micro_batch_is_shared_among_processes() -> None:
    """Eight groups of four rows of 10 tokens behind prompts of 5: 4 x 2 x (5 + 40) of them side by side."""
    rollouts = [row_of(0, 10) for _ in range(32)]
    rollouts = [replace(each, prompt=replace(each.prompt, tokens=(n // 4,) * 5)) for n, each in enumerate(rollouts)]
    assert [len(batch) for batch in micro_batches(rollouts, 8_192)] == [32]
    for count, sizes in ((1, [32]), (2, [16, 16]), (4, [8, 8, 8, 8])):
        assert [len(batch) for batch in even_micro_batches(rollouts, 8_192, count)] == sizes


@given(rows=ROWS, budget=st.integers(1, 200), idle=st.frozensets(st.integers(0, 19)), rectangle=st.booleans())
def test_idle_rows_come_last_and_apart(
    rows: list[tuple[int, int]], budget: int, idle: frozenset[int], rectangle: bool
) -> None:
    """A prompt is idle where all its rows are. They mix with others only where they are few."""
    rollouts = [row_of(*row) for row in rows]
    silent = {prompt for prompt, _ in rows} - {prompt for row, (prompt, _) in enumerate(rows) if row not in idle}
    batches = list(micro_batches(rollouts, budget, padded=rectangle, idle=idle))
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    kinds = [{rows[row][0] in silent for row in batch} for batch in batches]
    tokens = [
        sum(each.length for each, (prompt, _) in zip(rollouts, rows, strict=True) if (prompt in silent) is kind)
        for kind in (True, False)
    ]
    if tokens[0] * 8 >= tokens[1]:
        assert kinds == sorted(kinds, key=lambda kind: kind == {True})
        assert all(len(kind) == 1 for kind in kinds)
    else:
        assert batches == list(micro_batches(rollouts, budget, padded=rectangle))
