"""This module says what an answer can be: a number, a choice, a list, words or a formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from groupwise.rewards.reading.quantities import Quantity
from groupwise.rewards.reading.units import Unit


@dataclass(frozen=True)
class Choice:
    """A choice is one letter of a multiple choice."""

    letter: str


@dataclass(frozen=True)
class Words:
    """An answer in words: ``even``, ``\\text{Monday}``, ``3:45 PM``; small letters, single blanks."""

    text: str


@dataclass(frozen=True)
class Items:
    """Items are several values: a bare list (no brackets) or a set, in any order; a tuple or an interval, in one
    order."""

    items: tuple[Value, ...]
    brackets: str = ""
    """Empty, ``{}``, or ``()``, ``[]``, ``(]``, ``[)``, ``RANGE``, ``TO``: then the order counts."""


@dataclass(frozen=True)
class Grid:
    """The rows of a matrix or of cases."""

    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Formula:
    """A formula is mathematics that algebra must read."""

    latex: str
    unit: Unit = ()


@dataclass(frozen=True)
class Prose:
    """A text in which algebra looks for an expression itself."""

    text: str


RANGE, TO = "..", "to"
"""Brackets of ``3-5``, which is a difference as well, and of ``3 to 5``, which is a range or a ratio."""
Value = Quantity | Choice | Words | Items | Grid | Formula | Prose
Kind = Literal["number", "choice", "words", "list", "grid", "formula", "prose"]
_KINDS: dict[type, Kind] = {
    **{Quantity: "number", Choice: "choice", Words: "words", Items: "list"},
    **{Grid: "grid", Formula: "formula", Prose: "prose"},
}


def kind_of(value: Value) -> Kind:
    """The name of its kind."""
    return _KINDS[type(value)]


def is_plain(value: Value) -> bool:
    """Whether nothing of it needs algebra."""
    if isinstance(value, Items):
        return all(map(is_plain, value.items))
    if isinstance(value, Grid):
        return all(is_plain(cell) for row in value.rows for cell in row)
    return not isinstance(value, Formula | Prose)
