"""A filter says which rollouts are looked for, in which order; it is read from the fields of a page's address, and
nothing of it is ever executed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from groupwise.errors import UserError
from groupwise.view.index import NUMBERS, LedgerIndex
from groupwise.view.ledger_numbers import Array

ORDERS = ("newest", "oldest", *(f"{way}:{name}" for way in ("high", "low") for name in (*NUMBERS, "size")))
"""``size`` is how far a rollout is pushed, up or down."""
YES_NO = {"": None, "yes": 1, "no": 0}
LONGEST_TEXT = 500
LARGEST_PAGE = 200


@dataclass(frozen=True)
class Filter:
    """This is what is looked for; empty and None: anything."""

    stage: str = ""
    first: int | None = None
    """Step."""
    last: int | None = None
    least: float | None = None
    """Of the reward, or of the part that ``part`` names."""
    most: float | None = None
    part: str = ""
    """One of several rewards."""
    status: str = ""
    """Of the reward ``part``, or of any."""
    shortest: int | None = None
    """Tokens that were sampled."""
    longest: int | None = None
    finished: int | None = None
    correct: int | None = None
    signal: int | None = None
    """Whether the group's rewards differ."""
    group: int | None = None
    example: str = ""
    stop: str = ""
    text: str = ""
    """Stands in the completion."""
    order: str = "newest"

    @staticmethod
    def of(fields: Mapping[str, str]) -> Filter:
        """Reads a filter. Raises UserError for a value that is none."""
        order = fields.get("order", "newest") or "newest"
        if order not in ORDERS:
            raise UserError(f"order is {order!r}; expected one of {', '.join(ORDERS)}")
        text = fields.get("text", "")
        if len(text) > LONGEST_TEXT:
            raise UserError(f"text has {len(text)} letters; expected {LONGEST_TEXT} at most")
        found: dict[str, Any] = {"text": text, "order": order}
        found |= {name: integer(fields, name) for name in ("first", "last", "shortest", "longest", "group")}
        found |= {name: number(fields, name) for name in ("least", "most")}
        found |= {name: fields.get(name, "") for name in ("stage", "part", "status", "example", "stop")}
        found |= {name: yes_no(fields, name) for name in ("finished", "correct", "signal")}
        return Filter(**found)

    def rows(self, index: LedgerIndex) -> Array:
        """Returns the numbers of the rows that fit, ``text`` not looked at, as the index has them."""
        table = index.table
        if not table.size:
            return np.zeros(0, np.int64)
        fits = table["alive"].copy()
        if self.stage:
            fits &= table["stage"] == (index.stages.index(self.stage) if self.stage in index.stages else -2)
        judged = f"part:{self.part}" if self.part else "reward"
        between(fits, table, "step", self.first, self.last)
        between(fits, table, judged, self.least, self.most)
        between(fits, table, "length", self.shortest, self.longest)
        for name in ("finished", "correct", "signal", "group"):
            wanted = vars(self)[name]
            if wanted is not None:
                fits &= table[name] == wanted
        for name in ("example", "stop"):
            if vars(self)[name]:
                fits &= table[name] == index.code_of(name, vars(self)[name])
        if self.status:
            fits &= self._of_status(index)
        return np.flatnonzero(fits)

    def _of_status(self, index: LedgerIndex) -> Array:
        names = [name for name in index.table.names() if name.startswith("status:")]
        if self.part:
            names = [name for name in names if name == f"status:{self.part}"]
        found = np.zeros(index.table.size, bool)
        for name in names:
            found |= index.table[name] == index.code_of(name, self.status)
        return found

    def ordered(self, rows: Array, index: LedgerIndex, most: int) -> Array:
        """Returns the first so many of the rows in order; a value that is not known stands last."""
        table = index.table
        way, _, name = self.order.partition(":")
        if not len(rows):
            return rows
        if way in ("newest", "oldest"):
            return rows[_smallest(_places(index, rows, way == "newest"), most)]
        column = "push" if name == "size" else name
        if column not in table:
            return rows[:most]
        key = table[column][rows]  # a copy, changed in place: there may be millions
        if name == "size":
            np.abs(key, out=key)
        if name == "length":
            key = key.astype(np.float32)
            key[key < 0] = np.nan
        if way == "high":
            np.negative(key, out=key)
        key[np.isnan(key)] = np.inf
        return rows[_smallest(key, most)]


def _places(index: LedgerIndex, rows: Array, newest: bool) -> Array:
    """A number for each row that grows with stage and step; rows of a step stand in their order either way."""
    table, sign = index.table, -1 if newest else 1
    key = table["step"][rows].astype(np.int64)
    key *= sign << 20
    key += table["row"][rows]
    stages = table["stage"][rows]
    for stage in range(1, len(index.stages)):
        key[stages == stage] += sign * (stage << 52)
    return key


def between(fits: Array, table: object, name: str, low: float | None, high: float | None) -> None:
    """Takes from ``fits`` the rows whose number lies outside, or is not known."""
    if low is None and high is None:
        return
    if name not in table:  # type: ignore[operator]
        fits[:] = False
        return
    values = table[name]  # type: ignore[index]
    if low is not None:
        fits &= values >= low
    if high is not None:
        fits &= values <= high
    if name == "length":
        fits &= values >= 0


def integer(fields: Mapping[str, str], name: str) -> int | None:
    """Returns a whole number of the address; None where it is left out."""
    text = fields.get(name, "")
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        raise UserError(f"{name} is {text[:60]!r}; expected a whole number") from None
    if abs(value) >= 2**31:
        raise UserError(f"{name} is {text[:60]}; expected a number below {2**31}")
    return value


def number(fields: Mapping[str, str], name: str) -> float | None:
    """Returns a number of the address; None where it is left out."""
    text = fields.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise UserError(f"{name} is {text[:60]!r}; expected a number")
    return value


def yes_no(fields: Mapping[str, str], name: str) -> int | None:
    """Returns 1, 0, or None for either."""
    text = fields.get(name, "")
    if text not in YES_NO:
        raise UserError(f"{name} is {text[:60]!r}; expected yes, no, or nothing")
    return YES_NO[text]


def _smallest(key: Array, most: int) -> Array:
    """The places of the smallest keys, in order; equal ones as they stand."""
    if most >= len(key):
        return np.argsort(key, kind="stable")
    bound = np.partition(key, most - 1)[most - 1]
    below, at = np.flatnonzero(key < bound), np.flatnonzero(key == bound)
    chosen = np.sort(np.concatenate([below, at[: most - len(below)]]))
    return chosen[np.argsort(key[chosen], kind="stable")]
