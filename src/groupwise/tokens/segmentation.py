"""This module says what a reasoning step is, as a value, and at which token each one ends.

``Lines`` on ``2+2=4``, a blank line, ``#### 4``, and the same in the pieces of its tokens::

    2 + 2 = 4 \\n \\n # # # #   4          ends of the text      (5, 13)
    2 +2 = 4\\n  \\n  ####  ␣4 EOS         ends of the tokens    (3, 6)

A step ends with its last character that is no space; the token that holds this character is the step's last one. EOS
shows no text, so it belongs to no step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from groupwise.errors import UserError

ABBREVIATIONS = frozenset(("Mr", "Mrs", "Ms", "Dr", "Prof", "St", "No", "vs", "cf", "e.g", "i.e", "approx"))
"""A full stop after one of these ends no sentence."""

_LINE_NUMBER = re.compile(r"\s*[0-9]+")
LONGEST_NUMBER = 200
"""Characters before the full stop of a line's number, blanks included."""
_SENTENCE_END = re.compile(
    r"(?<![.!?…])[.!?…]+(?![.!?…])[\"'”’»)\]*]*(?=\s|\Z)"  # a space must follow: 3.14 is a number
    r"|[。！？]+[”’」』）]*"  # Chinese and Japanese: no space follows
    r"|[\r\n]+"
)


@runtime_checkable
class Segmentation(Protocol):
    """A segmentation cuts a completion into reasoning steps."""

    def ends(self, text: str) -> tuple[int, ...]:
        """Returns for each step with a visible character the number of characters up to its last one, ascending."""
        ...


@dataclass(frozen=True)
class Lines(Segmentation):
    """A step a line, blank lines left out. A line ends where ``str.splitlines`` says so."""

    def ends(self, text: str) -> tuple[int, ...]:
        """Returns where each line of the text ends."""
        return _visible_ends(text, _after_each(text.splitlines(keepends=True)))


@dataclass(frozen=True)
class Delimiter(Segmentation):
    """This segmentation takes as steps what stands between occurrences of a text, such as a blank line. Raises
    UserError for an empty one."""

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise UserError(r"Delimiter: the text is empty; expected what stands between two steps, such as '\n\n'")

    def ends(self, text: str) -> tuple[int, ...]:
        """Returns where each step ends, behind its delimiter."""
        found, start = [], 0
        for part in text.split(self.text):
            if part.strip():
                found.append(start + len(part.rstrip()))
            start += len(part) + len(self.text)
        return tuple(found)


@dataclass(frozen=True)
class Sentences(Segmentation):
    """This segmentation makes each sentence a step: up to ``.``, ``!``, ``?`` or ``…`` before a space, to ``。！？``,
    or to the line's end.

    A number with a full stop at the beginning of a line counts what follows it, and ABBREVIATIONS go on.
    """

    def ends(self, text: str) -> tuple[int, ...]:
        """Returns where each sentence of the text ends."""
        return _visible_ends(text, (*self._cuts(text), len(text)))

    def _cuts(self, text: str) -> Iterator[int]:
        line = 0
        for match in _SENTENCE_END.finditer(text):
            if match[0].isspace():
                line = match.end()
            elif match[0] == "." and (
                _is_line_number(text, line, match.start()) or _word_before(text, match.start()) in ABBREVIATIONS
            ):
                continue
            yield match.end()


def step_ends(pieces: Sequence[str], ends: Sequence[int]) -> tuple[int, ...]:
    """Returns for each end the index of the token that holds the last character before it; strictly ascending.

    ``pieces`` are the tokens' own shares of the text, in order. A character of several tokens is in the last one's.
    Steps that end in the same token are one. Raises ValueError for an end beyond the text.
    """
    found: list[int] = []
    token, reached = -1, 0
    for end in ends:
        while reached < end:
            token += 1
            if token == len(pieces):
                raise ValueError(f"a step ends at character {end}, and the tokens hold {reached}")
            reached += len(pieces[token])
        if not found or token > found[-1]:
            found.append(token)
    return tuple(found)


def _after_each(parts: Sequence[str]) -> Iterator[int]:
    position = 0
    for part in parts:
        position += len(part)
        yield position


def _visible_ends(text: str, cuts: Iterator[int] | Sequence[int]) -> tuple[int, ...]:
    """Of the stretches between ascending cuts, those that are not blank, without the spaces behind them."""
    found, start = [], 0
    for cut in cuts:
        stretch = text[start:cut].rstrip()
        if stretch:
            found.append(start + len(stretch))
        start = cut
    return tuple(found)


def _is_line_number(text: str, line: int, end: int) -> bool:
    """Says whether all between the line's beginning and ``end`` is its number. A longer stretch is none: looked at anew
    for every full stop of a line, it would take the square of its length."""
    return end - line <= LONGEST_NUMBER and _LINE_NUMBER.fullmatch(text, line, end) is not None


def _word_before(text: str, end: int) -> str:
    """The word that ends there; of a longer one than any abbreviation only a part."""
    return re.split(r"[\s(\[]", text[max(0, end - 12) : end])[-1]
