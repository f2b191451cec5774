"""What is too long is shortened by tokens, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from groupwise.tokens.renderer import Renderer
from groupwise.tokens.shortening import shortened


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("abcdefghij", 4, "ab\n[... 6 tokens left out ...]\nij"),
        ("abcdefghij", 5, "abc\n[... 5 tokens left out ...]\nij"),
        ("abcdefghij", 1, "a\n[... 9 tokens left out ...]\n"),
        ("abcdefghij", 9, "abcde\n[... 1 tokens left out ...]\nghij"),
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghij", 11, "abcdefghij"),
        ("", 1, ""),
        ("a" * 12_346, 2, "a\n[... 12,344 tokens left out ...]\na"),
    ],
)
def test_head_and_tail_are_kept(text: str, most: int, expected: str) -> None:
    assert shortened(text, most, len) == expected


@given(st.text(alphabet="a b", max_size=200), st.integers(1, 30))
def test_no_more_is_kept_than_that(text: str, most: int) -> None:
    found = shortened(text, most, words)
    if words(text) <= most:
        assert found == text
        return
    head, _, rest = found.partition("\n[... ")
    count, _, tail = rest.partition(" tokens left out ...]\n")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert words(head) <= (most + 1) // 2
    assert words(tail) <= most // 2
    assert words(head) + int(count) + words(tail) == words(text)


def test_characters_stay_whole_and_a_special_token_is_text(tiny_model: Path) -> None:
    """A character of four bytes goes as a whole; what spells a special token counts as the characters that it has."""
    between = Renderer(AutoTokenizer.from_pretrained(tiny_model)).between
    assert between.shortened("🙂🙂🙂🙂", 10) == "🙂\n[... 8 tokens left out ...]\n🙂"
    assert between.shortened("🙂🙂🙂🙂", 16) == "🙂🙂🙂🙂"
    assert between.shortened("<|end|>" * 3, 6) == "<|e\n[... 15 tokens left out ...]\nd|>"
    assert between.shortened("🙂" * 100, 0) == "🙂" * 100
