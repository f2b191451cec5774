"""This module reads numbers of another base than ten: ``101_2`` is five, and ``2A_{16}`` forty-two."""

from __future__ import annotations

import re
from fractions import Fraction

from groupwise.rewards.reading.quantities import Quantity

BASE = "base "
"""Before the base, which is the unit of such a number."""
_BASE = re.compile(
    r"\(?(?P<digits>[0-9A-F]{1,40})\)?\s?_\s?\{?\s?(?:(?P<base>[0-9]{1,2})|(?P<word>two|three|eight|ten|sixteen))\s?\}?"
    r"|(?P<number>[0-9A-F]{1,40})\s*+\(?\s*+(?:in\s++)?base[ -]\s*+(?P<of>[0-9]{1,2})\s*+\)?"
)
_BASES = {"two": "2", "three": "3", "eight": "8", "ten": "10", "sixteen": "16"}
_PREFIXED = re.compile(r"0(?:(?P<hex>[xX])(?P<digits>[0-9a-fA-F]{1,40})|[bB](?P<bits>[01]{1,40}))")


def in_base(text: str) -> Quantity | None:
    """Returns the number, with its base as the unit, of ``101_2``, ``101 in base 2`` and ``0x2A``; None of any other
    text, and where a digit is none of the base's."""
    if match := _PREFIXED.fullmatch(text):
        base = "16" if match["hex"] else "2"
        return Quantity(Fraction(int(match["digits"] or match["bits"], int(base))), (f"{BASE}{base}",))
    match = _BASE.fullmatch(text)
    if match is None:
        return None
    base = match["base"] or match["of"] or _BASES[match["word"]]
    value = _value(match["digits"] or match["number"], int(base))
    return None if value is None else Quantity(Fraction(value), (f"{BASE}{int(base)}",))


def same_in_base(reference: Quantity, answer: Quantity) -> bool | None:
    """Says whether an answer without a base has the digits of a reference with one, or one with a base is the number
    that a reference without one is; None where neither or both have a base."""
    one, other = (_base(each) for each in (reference, answer))
    if bool(one) == bool(other):
        return None
    if other:
        return not reference.unit and reference.value == answer.value
    is_bare = not (answer.unit or answer.percent) and answer.value.denominator == 1 and answer.value >= 0
    return is_bare and _value(str(answer.value), one) == reference.value


def _base(number: Quantity) -> int:
    """The base that a number names, 0 where it names none."""
    unit = number.unit[0] if number.unit else ""
    return int(unit.removeprefix(BASE)) if unit.startswith(BASE) else 0


def _value(digits: str, base: int) -> int | None:
    try:
        return int(digits, base) if 2 <= base <= 36 else None
    except ValueError:
        return None
