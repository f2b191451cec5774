"""Levenshtein's distance equals its definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.sources.distance import levenshtein

WORDS = st.text(alphabet="abcé", max_size=80)


def by_definition(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        corner, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (letter != other))
    return row[-1]


@pytest.mark.parametrize(
    ("a", "b", "distance"), [("kitten", "sitting", 3), ("", "abc", 3), ("", "", 0), ("ab", "ba", 2)]
)
def test_by_hand(a: str, b: str, distance: int) -> None:
    assert levenshtein(a, b) == levenshtein(b, a) == distance


@given(WORDS, WORDS)
def test_it_equals_the_table(a: str, b: str) -> None:
    assert levenshtein(a, b) == by_definition(a, b)
