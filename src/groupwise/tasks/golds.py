"""This module reads reference answers as text, whatever type a file keeps them in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from groupwise.errors import UserError
from groupwise.tasks.columns import VERIFICATION
from groupwise.tasks.values import shown
from groupwise.values.spelled import structure_of

Structured = Literal["error", "any", "all", "json"]
"""What a list of several answers means, or an object: an error; each of the list is right by itself (any); all of them
are wanted (all), in the order given; or the JSON text of it, for a reward that reads that (json)."""


def answer_of(value: Any, where: str, structured: Structured = "error") -> str:
    """A reference answer as text.

    Text stays as it is; numbers are written out in full, without an exponent, in the fewest digits that are the same
    number; true and false in lower case; bytes are read as UTF-8; a list of one is that one. Raises UserError for null,
    for NaN and infinity, and for lists and objects as ``structured`` says.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        return answer_of(value[0], where, structured)
    if isinstance(value, list | tuple | Mapping) and value:
        return _structured(value, where, structured)
    return _scalar(value, where)


def alternatives_of(value: Any, where: str, structured: Structured) -> tuple[str, ...]:
    """The further answers of a list, each as right as its first; none where the list does not mean that."""
    if structured != "any" or not isinstance(value, list | tuple):
        return ()
    return tuple(answer_of(each, f"{where}[{number}]") for number, each in enumerate(value[1:], 1))


def verified_answer(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> str | None:
    """Returns the field in which SYNTHETIC-1 and -2 keep the answer, where all rows have it: those that ask for
    programs have tests there."""
    column, _, field = VERIFICATION.partition(".")
    found = (structure_of(row.get(column)) for _, row in rows)
    return VERIFICATION if all(isinstance(one, Mapping) and field in one for one in found) else None


def _structured(value: Any, where: str, structured: Structured) -> str:
    if structured == "json":
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, Mapping):
        fields = ", ".join(map(str, value))
        raise UserError(
            f"{where} is an object with the fields {fields}; expected one answer: name its field, "
            f"{where.rpartition(': ')[2]}.{next(iter(value))} say, as answer_column, or set structured_answers to json"
        )
    if structured == "any":
        return answer_of(value[0], f"{where}[0]")
    if structured == "all":
        return ", ".join(answer_of(each, f"{where}[{number}]") for number, each in enumerate(value))
    raise UserError(
        f"{where} is a list of {len(value)}; say with structured_answers what it means: any (each of them is right), "
        "all (all of them are wanted) or json (its text, for a reward that reads it)"
    )


def _scalar(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return format(Decimal(repr(float(value) + 0.0)), "f")
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise UserError(f"{where} is bytes that are not UTF-8; expected the reference answer") from None
    if isinstance(value, date):
        return value.isoformat()
    raise UserError(
        f"{where} is {shown(value)}; expected the reference answer: leave such rows out, or name another column as "
        "answer_column"
    )
