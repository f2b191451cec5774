"""A text that is too long is shortened by its tokens: its beginning and its end stay, and between them stands what is
left out."""

from __future__ import annotations

from collections.abc import Callable

CUT = "\n[... {count:,} tokens left out ...]\n"

Count = Callable[[str], int]
"""How many tokens a text has."""


def shortened(text: str, most: int, count: Count) -> str:
    """The text where it has at most so many tokens; else as much of its beginning and of its end as has half of them
    each, whole characters, and between them how many tokens are left out. What says so is not counted."""
    whole = count(text)
    if whole <= most:
        return text
    head = text[: _longest(len(text), (most + 1) // 2, lambda size: count(text[:size]))]
    left = len(text) - len(head)
    size = _longest(left, most // 2, lambda size: count(text[len(text) - size :]))
    tail = text[len(text) - size :]
    return head + CUT.format(count=whole - count(head) - count(tail)) + tail


def _longest(characters: int, most: int, tokens: Callable[[int], int]) -> int:
    """The largest number of characters, of at most so many, that have at most ``most`` tokens. No long text is counted
    more than a few times."""
    fits, more = 0, min(characters, max(1, most))
    while more > fits and tokens(more) <= most:
        fits, more = more, min(characters, 2 * more)
    while more - fits > 1:
        middle = (fits + more) // 2
        fits, more = (middle, more) if tokens(middle) <= most else (fits, middle)
    return fits
