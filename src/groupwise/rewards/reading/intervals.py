"""This module writes inequalities of one unknown as intervals: ``1 < x \\le 3`` is ``(1, 3]``, and ``x < 2`` or
``x > 5`` is a union of two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from groupwise.rewards.reading.quantities import Quantity, quantity
from groupwise.rewards.reading.values import Formula, Items, Value

BRACKETS = ("()", "[]", "(]", "[)")
LONGEST = 300
_RELATION = re.compile(r"<=|>=|\\(?:le|ge|lt|gt)(?![a-zA-Z])|[<>]")
_UP = {"<": False, r"\lt": False, "<=": True, r"\le": True}
"""Relations whose left side is the smaller, and whether both may be equal."""
_DOWN = {">": False, r"\gt": False, ">=": True, r"\ge": True}
_UNKNOWN = re.compile(r"(?:[a-zA-Z]|\\[a-zA-Z]+)(?:_\{?\w\}?)?")
_NO_UNKNOWN = ("\\infty", "\\pi", "e")
_BUILDER = re.compile(
    r"(?:\\\{|\{)\s*(?P<name>[a-zA-Z])(?:\s*\\in\s*(?:\\mathbb\{?R\}?|R))?\s*(?:\\mid(?![a-zA-Z])|[:|])(?P<body>.*?)(?:\\\}|\})"
)
_OR = re.compile(r"\\text\{[\s,]{0,4}or\s{0,4}\}|\\(?:lor|vee)(?![a-zA-Z])|(?<![a-zA-Z\\])or(?![a-zA-Z])|或者?")
_AND = re.compile(r"\\text\{[\s,]{0,4}and\s{0,4}\}|\\(?:land|wedge)(?![a-zA-Z])|(?<![a-zA-Z\\])and(?![a-zA-Z])|且")
_BARE_BOUND = re.compile(r"\s*(?:[<>](?![<>])|\\(?:le|ge|lt|gt)(?![a-zA-Z]))")
_BOUNDS = {
    "least": r"\ge",
    "most": r"\le",
    "more": ">",
    "less": "<",
    "or_least": r"\ge",
    "or_most": r"\le",
}
_BOUND_IN_WORDS = re.compile(
    r"(?:(?:the\s)?(?P<name>[a-z]{1,12})\s(?:is|must be|should be|has to be|can be)\s)?"
    r"(?:(?P<least>at least|(?:no|not) less than|greater than or equal to)"
    r"|(?P<most>at most|(?:no|not) more than|less than or equal to|up to)"
    r"|(?P<more>(?:more|greater|larger|bigger) than|above)"
    r"|(?P<less>(?:less|fewer|smaller) than|below|under))\s(?P<after>[^<>=]{1,60})"
    r"|(?P<before>-?[0-9][0-9.,/]{0,20})\sor\s"
    r"(?:(?P<or_least>more|greater|above|higher)|(?P<or_most>less|fewer|below|lower))"
)
_WITHOUT_A_POINT = re.compile(r"[a-zA-Z]\s?\\ne\s?(?P<point>[-0-9a-zA-Z\\{}/]{1,40})")
_UNION = re.compile(r"[)\]]\s*\\cup\s*[(\[]")


class _Interval(NamedTuple):
    low: str
    high: str
    brackets: str

    def __str__(self) -> str:
        return f"{self.brackets[0]}{self.low}, {self.high}{self.brackets[1]}"


def unknown_of(reference: Value) -> str | None:
    """Returns the unknown of a reference that is an inequality, ``x`` for an interval, nothing for a bare bound such as
    ``\\ge 5``; None of any other value."""
    if isinstance(reference, Formula) and _BARE_BOUND.match(reference.latex):
        return ""
    if (found := statement(reference)) is not None:
        return found[0]
    return "x" if is_interval(reference) else None


def bound_in_words(text: str, name: str) -> str | None:
    """Returns ``x \\ge 5`` of ``at least 5``, ``x is at least 5`` and ``5 or more``; None of any other text."""
    if len(text) > LONGEST or (match := _BOUND_IN_WORDS.fullmatch(_plain(text))) is None:
        return None
    group = next(group for group in _BOUNDS if match[group])
    if group.startswith("or_"):
        group, number = group.removeprefix("or_"), match["before"]
    else:
        number = match["after"]
    found = quantity(number)
    said = match["name"] or ""
    if name and len(said) == 1 and said != name.lower():
        name = said  # of another unknown, which whoever compares sees
    return f"{name} {_BOUNDS[group]} {number}" if found is not None and not found.name else None


def _plain(text: str) -> str:
    for mark in ("$", "\\text{", "}", "*", "\\(", "\\)"):
        text = text.replace(mark, "")
    return " ".join(text.lower().split()).strip(" .!")


def joined(plain: str) -> str | None:
    """Returns one statement for inequalities that ``and`` or ``or`` joins, None of any other text: ``1 < x \\le 3``,
    and ``x \\in (-\\infty, 2) \\cup (5, \\infty)``."""
    if len(plain) > LONGEST or not _RELATION.search(plain) or not (_OR.search(plain) or _AND.search(plain)):
        return None
    found = _union(_without_builder(plain))
    if found is None:
        return None
    name, intervals = found
    if len(intervals) == 1 and not intervals[0].low.startswith("-\\infty") and intervals[0].high != "\\infty":
        low, high, brackets = intervals[0]
        left, right = ("<" if bracket in "()" else r"\le" for bracket in brackets)
        return f"{low} {left} {name} {right} {high}"
    return rf"{name} \in {_written(intervals)}"


def in_brackets(value: Value) -> str | None:
    """Returns the interval, or the union of some, that an answer of inequalities means; None of any other value."""
    if isinstance(value, Items) and not value.brackets and (parts := [_as_interval(one) for one in value.items]):
        return r" \cup ".join(part for part in parts if part) if all(parts) else _in_brackets(value)
    return _in_brackets(value)


def _in_brackets(value: Value) -> str | None:
    if isinstance(value, Formula) and (hole := _WITHOUT_A_POINT.fullmatch(value.latex)):
        return rf"\mathbb{{R}} \setminus \{{{hole['point']}\}}"
    found = statement(value)
    return found[1] if found else None


def _as_interval(value: Value) -> str | None:
    """An interval as it is written, None of any other value."""
    if not (isinstance(value, Items) and value.brackets in BRACKETS and len(value.items) == 2):
        return None
    ends = [_end(one) for one in value.items]
    return f"{value.brackets[0]}{ends[0]}, {ends[1]}{value.brackets[1]}" if ends[0] and ends[1] else None


def _end(value: Value) -> str:
    """An end of an interval in LaTeX, empty where it is no number."""
    if isinstance(value, Quantity) and not (value.unit or value.percent or value.name):
        return str(value.value)
    return value.latex if isinstance(value, Formula) else ""


def statement(value: Value) -> tuple[str, str] | None:
    """Returns the unknown of an answer of inequalities, and the interval or union in which it lies; None of any other
    value.

    A list of them without a word between them is a union, unless that is everything: ``x > 1, x < 3``.
    """
    texts = [one.latex for one in value.items if isinstance(one, Formula)] if isinstance(value, Items) else []
    if isinstance(value, Formula):
        texts = [value.latex]
    elif not isinstance(value, Items) or value.brackets not in ("", "{}") or len(texts) < len(value.items):
        return None
    text = r" \lor ".join(texts)
    if len(text) > LONGEST or not _RELATION.search(text):
        return None
    within = _intersection([_bounds(part) for part in texts]) if len(texts) == 2 else None
    if within is not None and _is_below(within[1].low, within[1].high):
        return within[0], str(within[1])
    found = _union(_without_builder(text))
    return (found[0], _written(found[1])) if found else None


def is_interval(value: Value) -> bool:
    """Says whether a value is an interval, a point that looks like one, or a union of intervals."""
    if isinstance(value, Items):
        return value.brackets in BRACKETS and len(value.items) == 2
    if not isinstance(value, Formula) or _RELATION.search(value.latex):
        return False
    return bool(_UNION.search(value.latex)) or value.latex.replace(" ", "").startswith(r"\mathbb{R}\setminus")


def with_usual_brackets(body: str) -> str:
    """``]1, 3[`` as ``(1, 3)``: the brackets of France and Germany, which open and close the other way round."""
    if len(body) < 5 or body[0] not in "[]" or body[-1] not in "[]" or body[0] + body[-1] == "[]":
        return body
    inner = body[1:-1]
    if any(mark in inner for mark in "[]") or not any(mark in inner for mark in ",;"):
        return body
    return f"{'(' if body[0] == ']' else '['}{inner}{')' if body[-1] == '[' else ']'}"


def _without_builder(plain: str) -> str:
    match = _BUILDER.fullmatch(plain.strip())
    return match["body"] if match else plain


def _written(intervals: Sequence[_Interval]) -> str:
    return r" \cup ".join(map(str, intervals))


def _union(plain: str) -> tuple[str, list[_Interval]] | None:
    """The unknown, and the intervals in which it lies."""
    found = [_intersection([_bounds(part) for part in _AND.split(one)]) for one in _OR.split(plain)]
    known = [one for one in found if one is not None]
    if len(known) < len(found) or len({name for name, _ in known}) != 1:
        return None
    return known[0][0], [interval for _, interval in known]


def _intersection(parts: Sequence[tuple[str, _Interval] | None]) -> tuple[str, _Interval] | None:
    """Of two bounds, one of each side."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not 1 <= len(known) <= 2 or len({name for name, _ in known}) != 1:
        return None
    if len(known) == 1:
        return known[0]
    (name, one), (_, other) = known
    if one.low == "-\\infty":
        one, other = other, one
    if one.high != "\\infty" or other.low != "-\\infty" or "-\\infty" in (one.low, other.high):
        return None
    return name, _Interval(one.low, other.high, one.brackets[0] + other.brackets[1])


def _is_below(low: str, high: str) -> bool:
    """Says whether both are numbers, the first of which is the smaller."""
    one, other = quantity(low), quantity(high)
    return one is not None and other is not None and one.value < other.value


def _bounds(text: str) -> tuple[str, _Interval] | None:
    """``x > 1``, ``1 < x``, ``1 < x \\le 3`` or ``3 \\ge x > 1``."""
    relations = _RELATION.findall(text)
    terms = [term.strip(" ,$") for term in _RELATION.split(text)]
    if not all(terms) or len(relations) not in (1, 2) or "=" in "".join(terms):
        return None
    if all(relation in _DOWN for relation in relations):
        terms, relations = terms[::-1], relations[::-1]
        closed = [_DOWN[relation] for relation in relations]
    elif all(relation in _UP for relation in relations):
        closed = [_UP[relation] for relation in relations]
    else:
        return None
    place = 1 if len(terms) == 3 else 0 if _is_unknown(terms[0]) else 1
    if not _is_unknown(terms[place]) or any(_is_unknown(term) for n, term in enumerate(terms) if n != place):
        return None
    low = terms[place - 1] if place else "-\\infty"
    high = terms[place + 1] if place + 1 < len(terms) else "\\infty"
    opening = "[" if place and closed[place - 1] else "("
    closing = "]" if place + 1 < len(terms) and closed[place] else ")"
    return terms[place], _Interval(low, high, opening + closing)


def _is_unknown(term: str) -> bool:
    return bool(_UNKNOWN.fullmatch(term)) and term not in _NO_UNKNOWN
