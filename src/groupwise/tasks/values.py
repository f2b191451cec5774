"""The values of a row, checked: cells, text and truth. Every error names the row and the column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from groupwise.errors import UserError
from groupwise.values.spelled import structure_of

TRUE = ("true", "yes", "1", "1.0", "t", "y")
FALSE = ("false", "no", "0", "0.0", "f", "n")


def cell(id: str, row: Mapping[str, Any], column: str) -> Any:
    """Returns a row's value; ``a.b`` is the field b of the column a. Raises UserError, with the nearest name, where the
    row has no such column."""
    if column in row:
        return row[column]
    first, dot, rest = column.partition(".")
    if dot and first in row:
        inside = structure_of(row[first])
        if isinstance(inside, Mapping):
            return cell(f"{id}: {first}", inside, rest)
        raise UserError(f"{id}: {first} is {shown(inside)}; expected an object with the field {rest}")
    raise UserError(f'{id}: no column "{column}"{nearest(column, list(row))}; seen: {", ".join(row)}')


def nearest(column: str, columns: Sequence[str]) -> str:
    """Returns what an error says of a column that is not there."""
    close = get_close_matches(column, columns, n=1)
    return f', perhaps you meant "{close[0]}"' if close else ""


def text_of(value: Any, where: str) -> str:
    """A text that is not blank. ``where`` is row and column as an error says them. Raises UserError."""
    if not isinstance(value, str):
        raise UserError(f"{where} is {shown(value)}; expected text")
    if not value.strip():
        raise UserError(f"{where} is empty; expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} holds the lone surrogate {value[error.start]!a}; expected Unicode text") from error
    return value


def truth_of(value: Any, where: str) -> bool:
    """Returns true or false: as such, as 1 and 0, or as text in any case. Raises UserError for anything else, null
    too."""
    said = str(value).strip().lower()
    if value is None or said not in (*TRUE, *FALSE):
        raise UserError(
            f"{where} is {shown(value)}; expected true or false, 1 or 0, yes or no; where the column says anything "
            "else than whether the answer is good, name it in ignore_columns"
        )
    return said in TRUE


def place_of(value: Any) -> Any:
    """A whole number where a file could only keep it as text or as a float, None for its NaN; else as it is."""
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def is_nothing(value: Any) -> bool:
    """Says whether a cell says nothing: null, NaN, blank text, an empty list or object."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {}, ())


def shown(value: Any) -> str:
    """A value as an error says it, short."""
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float, str)):
        return f"{type(value).__name__} {str(value)[:40]!r}"
    return f"empty {type(value).__name__}" if not value else type(value).__name__
