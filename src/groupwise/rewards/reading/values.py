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


def as_item(value: Value) -> object:
    """Returns plain JSON of a value, for the process that does algebra."""
    match value:
        case Quantity():
            return ["number", _latex(value)]
        case Formula(latex) | Prose(latex):
            return ["prose" if isinstance(value, Prose) else "formula", latex]
        case Words(text):
            return ["formula" if not any(map(str.isalpha, text)) else "words", text]
        case Choice(letter):
            return ["words", letter]
        case Items((low, high), brackets) if (
            brackets == RANGE and isinstance(low, Quantity) and isinstance(high, Quantity)
        ):
            return ["formula", f"{_latex(low)} - {_latex(high)}"]
        case Items(items, brackets):
            return ["items", brackets, [as_item(one) for one in items]]
    return ["grid", [[as_item(cell) for cell in row] for row in value.rows]]


def _latex(value: Quantity) -> str:
    number = value.value
    if value.decimals > 0:
        digits = str(abs(number.numerator * 10**value.decimals // number.denominator)).rjust(value.decimals + 1, "0")
        plain = f"{'-' if number < 0 else ''}{digits[: -value.decimals]}.{digits[-value.decimals :]}"
    else:
        plain = (
            str(number.numerator)
            if number.denominator == 1
            else rf"\frac{{{number.numerator}}}{{{number.denominator}}}"
        )
    if value.percent:
        plain += r"\%"
    return f"{value.name} = {plain}" if value.name.isalpha() and len(value.name) == 1 else plain
