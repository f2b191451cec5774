"""Sequences side by side: a shared prompt stands there once, and every token knows its position."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from groupwise.networks.packing import Packing

IDS = st.lists(st.integers(0, 3), min_size=1, max_size=4)
SEQUENCES = st.lists(st.tuples(IDS, st.lists(st.integers(0, 9), max_size=6)), min_size=1, max_size=12)


def test_by_hand() -> None:
    packing = Packing.of([([5, 6], [7, 8]), ([4], []), ([5, 6], [9])])
    assert packing.tokens.tolist() == [5, 6, 7, 8, 9, 4]
    assert packing.positions.tolist() == [0, 1, 2, 3, 2, 0]
    assert packing.prompts.tolist() == [[0, 2, 0, 2], [5, 1, 2, 3]]
    assert packing.completions.tolist() == [[2, 2], [4, 1], [6, 0]]
    assert (packing.ends, packing.starts) == ((1, 5, 1), (2, 6, 4))
    assert (packing.families, packing.longest) == (2, 4)


@given(sequences=SEQUENCES)
def test_every_sequence_can_be_read_back(sequences: list[tuple[list[int], list[int]]]) -> None:
    packing = Packing.of(sequences)
    tokens, positions = packing.tokens.tolist(), packing.positions.tolist()
    for (prompt, completion), end, start in zip(sequences, packing.ends, packing.starts, strict=True):
        first = end - len(prompt) + 1
        assert tokens[first : end + 1] == prompt
        assert tokens[start : start + len(completion)] == completion
        assert positions[first : end + 1] == list(range(len(prompt)))
        assert positions[start : start + len(completion)] == list(range(len(prompt), len(prompt) + len(completion)))
    shared = {tuple(prompt) for prompt, _ in sequences}
    assert len(tokens) == sum(map(len, shared)) + sum(len(completion) for _, completion in sequences)
