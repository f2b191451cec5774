"""This module reads quantities that are written in parts: ``1 hour 30 minutes`` is an hour and a half, ``3元5角`` three
and a half yuan, and ``3 out of 5`` is three fifths."""

from __future__ import annotations

import re
from fractions import Fraction

from groupwise.rewards.reading.unit_names import KNOWN_UNITS

LONGEST = 80
_FAMILIES: tuple[dict[str, int], ...] = (
    {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1},
    {"year": 12, "month": 1},
    {"dollar": 100, "cent": 1},
    {"euro": 100, "cent": 1},
    {"yuan": 100, "jiao": 10, "fen": 1},
    {"mile": 63_360, "yard": 36, "foot": 12, "inch": 1},
    {"km": 1_000_000, "m": 1_000, "dm": 100, "cm": 10, "mm": 1},
    {"tonne": 1_000_000, "kg": 1_000, "g": 1},
    {"pound": 16, "ounce": 1},
    {"l": 1_000, "ml": 1},
)
"""Units of one kind with their sizes, the largest first: the parts of a quantity are of one of these rows, in order."""
_MORE_NAMES = {
    "in": "inch",
    "m": "minute",
    "分": "minute",
    "'": "foot",
    "′": "foot",
    '"': "inch",
    "″": "inch",
    "''": "inch",
}
"""What is such a unit between its siblings alone: ``in`` is a word, and ``分`` a hundredth of a yuan as well."""
_PART = re.compile(
    r"\s*+(?:,\s*+)?(?:and\s*+|零|又)?(?P<number>[0-9]{1,12}(?:\.[0-9]{1,12})?)\s*+"
    r"(?P<unit>[a-zA-Z]{1,12}(?![a-zA-Z])\.?|[\u4e00-\u9fff]{1,4}|'{1,2}|[\"′″])"
)
_MONEY = re.compile(r"(?P<sign>[$€])\s?(?P<number>[0-9]{1,12})\s+(?=(?:and\s+)?[0-9])")
_OUT_OF = re.compile(
    r"(?P<part>[0-9][0-9,]{0,12})\s++(?:[a-z]{3,14}\s++)?(?:\\text\{\s*+)?out\s++of\s*+(?:\}|(?:every|the)\s++)?\s*+(?P<whole>[0-9][0-9,]{0,12})(?![0-9.])"
)
_ONE_IN = re.compile(r"(?P<part>[0-9]{1,9})(?:\s+in\s+|-in-)(?P<whole>[0-9]{1,9})(?:\s+chances?)?")


def in_one_unit(text: str) -> tuple[Fraction, str] | None:
    """Returns the size of a quantity in parts, in the first part's unit, and that unit: ``3/2, "hour"``.

    None of any other text, and where a part is as large as one of the unit before it: ``1 hour 75 minutes`` is none.
    """
    if len(text) > LONGEST:
        return None
    if money := _MONEY.match(text):
        text = f"{money['number']} {'dollars' if money['sign'] == '$' else 'euros'} {text[money.end() :]}"
    parts, end = [], 0
    while match := _PART.match(text, end):
        parts.append((Fraction(match["number"]), _names(match["unit"])))
        end = match.end()
    if len(parts) < 2 or text[end:].strip(" ."):
        return None
    return next((found for family in _FAMILIES if (found := _sum(parts, family)) is not None), None)


def share(text: str) -> str | None:
    """Returns ``3/5`` of ``3 out of 5``, with what follows it; None of a text that does not begin so."""
    if match := _OUT_OF.match(text):
        return f"{_plain(match['part'])}/{_plain(match['whole'])}{text[match.end() :]}"
    if (match := _ONE_IN.fullmatch(text)) and int(match["part"]) < int(match["whole"]):
        return f"{match['part']}/{match['whole']}"
    return None


def _plain(number: str) -> str:
    return number.replace(",", "")


def _names(written: str) -> tuple[str, ...]:
    """The units that a word may be."""
    bare = written.rstrip(".")
    known = KNOWN_UNITS.get(bare) or KNOWN_UNITS.get(bare.lower())
    return tuple(name for name in (known, _MORE_NAMES.get(bare), "fen" if bare == "分" else None) if name)


def _sum(parts: list[tuple[Fraction, tuple[str, ...]]], family: dict[str, int]) -> tuple[Fraction, str] | None:
    """The parts added up, where all are of this family, each smaller than one of the unit before it."""
    total, before, first = Fraction(0), 0, ""
    for number, names in parts:
        unit = next((name for name in names if name in family), None)
        if unit is None or (before and (family[unit] >= before or number * family[unit] >= before)):
            return None
        total, before, first = total + number * family[unit], family[unit], first or unit
    return total / family[first], first
