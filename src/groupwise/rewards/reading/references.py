"""This module reads the answer of a row: the answer itself, a whole solution that ends with it, or a list of
answers."""

from __future__ import annotations

import functools
import re

from groupwise.rewards.reading.conventions import math_pieces
from groupwise.rewards.reading.intervals import bound_in_words
from groupwise.rewards.reading.notation import ANSWER_CHARACTERS, unescaped, with_western_digits, within_bounds
from groupwise.rewards.reading.parsing import HALVES_OF_A_DAY, understand
from groupwise.rewards.reading.quantities import quantity
from groupwise.rewards.reading.reader import Reader
from groupwise.rewards.reading.spans import Reference, read_span
from groupwise.rewards.reading.structure import TEXT_CHARACTERS, without_thinking
from groupwise.rewards.reading.values import Items, Prose, Words
from groupwise.values.spelled import structure_of

_DECIMAL_COMMA = re.compile(r"[0-9]{1,9},[0-9]{2}")
"""``1,22``: two numbers, or one in the writing of most of Europe."""


@functools.lru_cache(maxsize=4096)
def read_reference(text: str, several: str = "") -> Reference:
    """Reads a row's answer: the answer itself, a whole solution that ends with it, or a JSON list of answers.

    ``several`` says what a list of several means: ``any`` of them is right, or ``all`` are the answer together.
    """
    text = with_western_digits(text.strip())
    if not text:
        return Reference(why="it is empty")
    if text[:1] in "[{" and (listed := _json(text, several)) is not None:
        return listed  # before the backslashes that JSON and Python double are written once
    text = unescaped(text)
    if (number := quantity(text)) is not None and number.unit not in HALVES_OF_A_DAY:
        return Reference((number,), text=text)
    body = without_thinking(text[-TEXT_CHARACTERS:]) or text
    hashes = "####" in body
    gold = Reference(has_hashes=hashes)
    whole = None if hashes else understand(body, is_marked=False)
    if whole is not None and _DECIMAL_COMMA.fullmatch(text) and (decimal := quantity(text.replace(",", "."))):
        return Reference((whole, decimal), text=text)
    if whole is not None and "\\boxed" not in body:
        return Reference((whole,), text=text)
    for _, span in Reader().spans(body):
        if (value := read_span(span, "prose", gold)) is not None:
            return Reference((value,), hashes, text=span.text)
    if whole is not None and not isinstance(whole, Words):
        return Reference((whole,), hashes, text=text)
    if (bound := bound_in_words(text, "")) and (said := understand(bound)) is not None:
        return Reference((said,), text=text)
    pieces = math_pieces(body)
    if pieces and within_bounds(body[-ANSWER_CHARACTERS:]):
        return Reference((Prose(body[-ANSWER_CHARACTERS:]),), hashes, text=text)
    return Reference(why=_why(text), text=text)


def _why(text: str) -> str:
    if not within_bounds(text):
        return "it is too long, too deeply nested or holds a number too large to write down"
    return f"{text[:60]!r} is neither a number, a choice, a list nor mathematics"


def _json(text: str, several: str) -> Reference | None:
    """A reference that is a JSON list of texts, or an object; None where it is neither."""
    parsed = structure_of(text)
    if isinstance(parsed, dict) and parsed:
        return Reference(
            why=f"it is an object with {', '.join(map(str, parsed))}; name the field that holds the answer"
        )
    if not isinstance(parsed, list) or not (all(isinstance(one, str) for one in parsed) or len(parsed) == 1):
        return None
    found = [read_reference(str(one)) for one in parsed]
    unread = next((one for one in found if not one.values), None)
    if unread or not found:
        return Reference(why=unread.why if unread else "it is an empty list")
    values = tuple(one.values[0] for one in found)
    if len(values) == 1 or several == "any":
        return Reference(values, text=text)
    if several == "all":
        return Reference((Items(values),), text=text)
    return Reference(why=f"it lists {len(values)} answers; say by several='any' that each is right, or 'all' together")
