"""This module tells formulas from sentences, and takes the unit behind a formula off it."""

from __future__ import annotations

import re

from groupwise.rewards.reading.notation import with_commands, within_bounds
from groupwise.rewards.reading.unit_names import NAMES
from groupwise.rewards.reading.units import Unit, read_unit
from groupwise.rewards.reading.values import Formula

TEXT = re.compile(r"\\(?:text|mathrm|textbf|mbox|textit|textrm|mathbf|operatorname)\s*\{(?P<inner>[^{}]*)\}")
_NAMED = re.compile(r"\\(?:begin|end|mathbb|mathcal|mathrm|operatorname)\{[a-zA-Z]{1,20}\*?\}")
_TRAILING_UNIT = re.compile(  # every part and space in one way alone, so that no text takes long
    r"(?>(?:\\(?:text|mathrm|mbox)\s*+\{[^{}]{1,40}\}|\^\\circ(?:\s?[CF])?)(?:\^\{?[1-9]\}?)?\s*+)++$"
)
_OF_AN_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)\s?[({]?\s?[0-9]+\s?\^\s?\{?\s?\\circ")
_WORD = re.compile(r"\\[a-zA-Z]+|[^\W\d_]{2,}|[\u4e00-\u9fff]")
_FUNCTIONS_TEXT = """
sin cos tan sec csc cot arcsin arccos arctan sinh cosh tanh log ln lg exp sqrt pi lim max min gcd lcm mod deg
det dim inf infty infinity alpha beta gamma delta theta lambda phi omega sigma rho frac
"""
_FUNCTIONS = frozenset(_FUNCTIONS_TEXT.split())
_SHORT_WORDS_TEXT = """
is so it we he in of to as at by be or an am my us up if on no do go get has had was are the and for not you she
its our per can may who why how all any one two six ten yes but did got now ans let say too off out day low due
his her im id ill ve re it's thus then hence give find have will that this they
"""
_SHORT_WORDS = frozenset(_SHORT_WORDS_TEXT.split())


def is_formula(plain: str) -> bool:
    """Whether a tidy text is mathematics and no sentence."""
    if not plain or all(character in " .,:;-!?*#" for character in plain):
        return False
    if "#" in plain:
        return False
    without_text = _NAMED.sub(" ", TEXT.sub(" ", plain))
    words = [word for word in _WORD.findall(without_text) if not word.startswith("\\")]
    return not any((word.isascii() and not is_product(word)) or not word.isascii() for word in words)


def is_name(word: str) -> bool:
    """Three capitals and more that are not all letters of choices: ``CAT`` is not ``ACT``."""
    return word.isupper() and len(word) > 2 and word.isascii() and max(word) > "J"


def is_product(word: str) -> bool:
    """Letters side by side that are a function, points or a product of variables."""
    lower = word.lower()
    if lower in _FUNCTIONS or (word.isupper() and len(word) <= 4 and lower not in _SHORT_WORDS):
        return True
    return len(word) <= 3 and word.islower() and lower not in _SHORT_WORDS


def with_plain_unit(plain: str) -> Formula | None:
    """``6\\pi square units`` and ``2\\sqrt{3} cm``: a formula with a unit in plain letters."""
    words = plain.split(" ")
    for count in (2, 1):
        head, last = " ".join(words[:-count]), " ".join(words[-count:])
        if not any(mark in head for mark in ("\\pi", "\\sqrt", "\\frac")) or len(last) > 40 or len(last) < 2:
            continue
        found = read_unit(last, True) if last[0].isalpha() else None
        is_unit = found and found[0] == 1 and all(word.partition("^")[0] in (*NAMES, "unit", "/") for word in found[1])
        if found and found[1] and is_unit and head[-1] not in "+-*/^=" and is_formula(head):
            return Formula(head, found[1])
    return None


def formula(plain: str) -> Formula | None:
    if not within_bounds(plain):
        return None
    plain = with_commands(plain)
    no_unit: Unit = ()
    head, unit = plain, no_unit
    trailing = _TRAILING_UNIT.search(plain)
    if (
        trailing
        and trailing.start() > 0
        and not _OF_AN_ANGLE.search(plain)
        and (found := read_unit(trailing[0], True))
        and found[0] == 1
    ):
        head, unit = plain[: trailing.start()].strip(), found[1]
    return Formula(head or plain, unit)
