"""This module reads numbers of another base than ten: ``101_2`` is five, and ``2A_{16}`` forty-two."""

from __future__ import annotations

import re
from fractions import Fraction

from groupwise.rewards.reading.quantities import Quantity

BASE = "base "
"""Before the base, which is the unit of such a number."""
_NAMES_TEXT = "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_NAMES = {name: base for base, name in enumerate(_NAMES_TEXT.split(), start=2)}
_A_BASE = rf"[0-9]{{1,2}}|{'|'.join(sorted(_NAMES, reverse=True))}"
_BASE = re.compile(
    rf"\(?(?P<digits>[0-9a-fA-F]{{1,40}})\)?\s?_\s?\{{?\s?(?P<base>{_A_BASE})\s?\}}?"
    rf"|(?P<number>[0-9a-fA-F]{{1,40}})\s*+\(?\s*+(?:in\s++)?base[ -]\s*+(?P<of>{_A_BASE})\s*+\)?"
)
_PREFIXED = re.compile(r"0(?:[xX](?P<hex>[0-9a-fA-F]{1,40})|[oO](?P<octal>[0-7]{1,40})|[bB](?P<binary>[01]{1,40}))")
_PREFIXES = {"hex": 16, "octal": 8, "binary": 2}


def in_base(text: str) -> Quantity | None:
    """Returns the number, with its base as the unit, of ``101_2``, ``101 in base 2`` and ``0x2A``; None of any other
    text, and where a digit is none of the base's."""
    if match := _PREFIXED.fullmatch(text):
        base = _PREFIXES[kind := match.lastgroup or ""]
        return Quantity(Fraction(int(match[kind], base)), (f"{BASE}{base}",))
    match = _BASE.fullmatch(text)
    if match is None:
        return None
    digits, said = match["digits"] or match["number"], match["base"] or match["of"]
    base = _NAMES.get(said) or int(said)
    value = None if _is_indexed(digits, base) else _value(digits, base)
    return None if value is None else Quantity(Fraction(value), (f"{BASE}{base}",))


def _is_indexed(letters: str, base: int) -> bool:
    """Says whether these are unknowns with an index rather than digits: ``A_{11}``, ``a_{16}`` and ``ab_{12}``."""
    if not letters.isalpha():
        return False
    return base != 16 or (len(letters) == 1 and letters.islower())


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
