"""This module says when two values are the same: exactly, or within a tolerance that the reward states."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

from groupwise.rewards.reading.bases import same_in_base
from groupwise.rewards.reading.intervals import BRACKETS, statement
from groupwise.rewards.reading.moments import same_time
from groupwise.rewards.reading.number_words import in_digits
from groupwise.rewards.reading.quantities import Quantity, quantity
from groupwise.rewards.reading.tolerances import Tolerance
from groupwise.rewards.reading.units import units_agree
from groupwise.rewards.reading.values import RANGE, TO, Choice, Formula, Grid, Items, Prose, Value, Words

Verdict = Literal["equal", "different", "unknown"]
"""``unknown``: it takes algebra."""
DOZEN = "dozen"
_ROUNDED_DECIMALS = 6
_TWO_SIGNS = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])")
_CONSTANT = re.compile(r"\+(?:[cCkK](?:_\{?\w\}?)?|\\text\{(?:[cC]|const(?:ant)?\.?)\})$")
_IN_WORDS = {
    r"\mathbb{R}": "all real numbers",
    r"(-\infty,\infty)": "all real numbers",
    r"\emptyset": "no solution",
    r"\{\}": "no solution",
}
"""Sets that have a name in words."""
_RELATION = re.compile(r"[<>=]|\\(?:le|ge|lt|gt|ne|in|notin)(?![a-zA-Z])")
_BOUND = re.compile(r"\s*(?:[<>](?![<>])|\\(?:le|ge|lt|gt|ne)(?![a-zA-Z]))")


def compare_values(reference: Value, answer: Value, near: Tolerance) -> Verdict:
    """Whether an answer is the reference, as far as that can be said without algebra."""
    if reference == answer and not isinstance(reference, Prose):
        return "equal"
    if (verdict := _of_a_formula(reference, answer)) is not None:
        return verdict
    match reference, answer:
        case Quantity(), Quantity():
            return _said(_quantities(reference, answer, near))
        case (Items(brackets="(]" | "[)"), Items(brackets="")) | (Items(brackets=""), Items(brackets="(]" | "[)")):
            return "different"
        case Items(), Items():
            return _several(reference, answer, near)
        case (Items(brackets=brackets), _) | (_, Items(brackets=brackets)) if brackets in (RANGE, TO):
            return _two_ends(reference, answer, brackets)
        case Grid(), Grid():
            return _grids(reference, answer, near)
        case (Words(text), Words() | Quantity()):
            return _of_words(text, answer, near)
        case (Choice(letter), Words(text)) | (Words(text), Choice(letter)):
            letter = letter.casefold()
            return _said(text == letter or text.startswith((f"{letter})", f"({letter})")))
        case (Formula(latex), Items(items)) | (Items(items), Formula(latex)) if all(
            isinstance(i, Choice) for i in items
        ):
            return _said(sorted(_squeezed(latex)) == sorted(item.letter for item in items if isinstance(item, Choice)))
        case (Formula(), Quantity()) | (Quantity(), Formula()) | (Formula(), Formula()) if _is_bound(
            reference
        ) != _is_bound(answer) and not (_has_relation(reference) and _has_relation(answer)):
            return "different"
        case (Formula(), Formula()):
            return _formulas(reference, answer)
        case (Formula() | Prose(), _) | (_, Formula() | Prose()):
            return "different" if _are_points(reference, answer) else "unknown"
        case (Items(), Grid()) | (Grid(), Items()):
            return _lists_and_grids(reference, answer, near)
        case (Items(), Quantity(name=name)) | (Quantity(name=name), Items()) if name:
            return "unknown"
    return "different"


def _of_a_formula(reference: Value, answer: Value) -> Verdict | None:
    """A set that has a name in words, a letter, a time against a ratio, both signs against an interval; None of
    others."""
    match reference, answer:
        case (Formula(latex), Words(text)) | (Words(text), Formula(latex)) if _squeezed(latex) in _IN_WORDS:
            return _said(_IN_WORDS[_squeezed(latex)] == text)
        case (Formula(latex), Choice(letter)) | (Choice(letter), Formula(latex)):
            return _said(_squeezed(latex) == letter)
        case (Words(text), Formula(latex)) if ":0" in text:
            return _said(text == _squeezed(latex))
        case (Items(brackets=brackets), Formula(latex)) | (Formula(latex), Items(brackets=brackets)) if (
            brackets in BRACKETS and _TWO_SIGNS.search(latex)
        ):
            return "different"
    return None


def _two_ends(reference: Value, answer: Value, brackets: str) -> Verdict:
    """A range or two numbers joined by ``to``, against what is neither."""
    if brackets == TO and any(isinstance(one, Words | Formula) for one in (reference, answer)):
        return _said(_ratio(reference) == _ratio(answer) is not None)
    is_difference = brackets == RANGE and isinstance(reference, Quantity | Formula)
    return "unknown" if is_difference else "different"


def _ratio(value: Value) -> Fraction | None:
    """The first part over the second, of ``3:4`` and ``3 to 4``."""
    parts = [part.value for part in value.items if isinstance(part, Quantity)] if isinstance(value, Items) else []
    if isinstance(value, Words | Formula):
        text = value.text if isinstance(value, Words) else value.latex
        found = [quantity(part) for part in text.replace(r"\colon", ":").split(":")]
        parts = [part.value for part in found if part is not None and len(found) == 2]
    return parts[0] / parts[1] if len(parts) == 2 and parts[1] else None


def _of_words(text: str, answer: Words | Quantity, near: Tolerance) -> Verdict:
    """A reference in words that are not the answer's: perhaps another ratio, the same time, the number ``seven``."""
    if isinstance(answer, Words):
        both = _is_ratio(text) and _is_ratio(answer.text)
        return "unknown" if both else _said(same_time(text, answer.text))
    digits = text if text.isdigit() else in_digits(text)  # 3 of "3rd", or 3 of "three"
    number = quantity(digits) if digits else None
    return _said(number is not None and _quantities(number, answer, near))


def _lists_and_grids(reference: Value, answer: Value, near: Tolerance) -> Verdict:
    """A matrix as a list of its rows; and cases, each of which is an equation (``x = 2``), as a list of these."""
    one, other = _as_grid(reference), _as_grid(answer)
    if one and other:
        return _grids(one, other, near)
    left, right = (_as_equations(side) if isinstance(side, Grid) else side for side in (reference, answer))
    return _several(left, right, near) if isinstance(left, Items) and isinstance(right, Items) else "unknown"


def _as_equations(grid: Grid) -> Items | None:
    cells = tuple(row[0] for row in grid.rows if len(row) == 1)
    named = len(cells) == len(grid.rows) and all(isinstance(cell, Quantity) and cell.name for cell in cells)
    return Items(cells) if named else None


def _as_grid(value: Value) -> Grid | None:
    """A matrix, also one that is written as a list of its rows: ``[[1, 2], [3, 4]]``."""
    if isinstance(value, Items) and all(isinstance(row, Items) and row.brackets in ("[]", "()") for row in value.items):
        return Grid(tuple(row.items for row in value.items if isinstance(row, Items)))
    return value if isinstance(value, Grid) else None


def _is_bound(value: Value) -> bool:
    """Whether it only says on which side of a number it lies: ``\\ge 5``."""
    return isinstance(value, Formula) and bool(_BOUND.match(value.latex))


def _has_relation(value: Value) -> bool:
    return isinstance(value, Formula) and bool(_RELATION.search(value.latex))


def _are_points(reference: Value, answer: Value) -> bool:
    """Says whether one is an inequality, and the other a set of numbers."""
    sets = [side.items for side in (reference, answer) if isinstance(side, Items) and side.brackets in ("", "{}")]
    are_numbers = bool(sets) and all(isinstance(point, Quantity) for point in sets[0])
    return are_numbers and any(statement(side) for side in (reference, answer) if isinstance(side, Formula))


def _is_ratio(text: str) -> bool:
    return not any(character.isalpha() for character in text) and text.count(":") == 1 and ":0" not in text


def _said(equal: bool) -> Verdict:
    return "equal" if equal else "different"


def _quantities(reference: Quantity, answer: Quantity, near: Tolerance) -> bool:
    if reference.name and answer.name and reference.name != answer.name:
        return False
    if (
        not units_agree(*(tuple(word for word in one.unit if word != DOZEN) for one in (reference, answer)))
        or (reference.percent and answer.unit and (not answer.percent or "point" in answer.unit))
        or (answer.percent and reference.unit and (not reference.percent or "point" in reference.unit))
    ):
        return False
    if (same := same_in_base(reference, answer)) is not None:
        return same
    left, right = reference.value, answer.value
    if answer.whole is not None and left.denominator == 1 and not reference.percent and answer.whole == left:
        return True
    if (DOZEN in reference.unit) != (DOZEN in answer.unit):
        dozens = [value * (12 if DOZEN in one.unit else 1) for value, one in ((left, reference), (right, answer))]
        if near.accepts(*dozens):
            return True
    if near.accepts(left, right) or _is_rounded(reference, answer) or _is_rounded(answer, reference):
        return True
    if reference.percent == answer.percent:
        return False
    return near.accepts(left / 100 if reference.percent else left, right / 100 if answer.percent else right)


def _is_rounded(written: Quantity, exact: Quantity) -> bool:
    """Whether one is the other, which no decimal can say, to six digits and more: 0.333333 of 1/3."""
    if (
        written.decimals < _ROUNDED_DECIMALS
        or exact.decimals >= 0
        or written.value == 0
        or _ends(exact.value.denominator)
    ):
        return False
    gap = abs(written.value - exact.value)
    return gap <= Fraction(1, 10**written.decimals) and gap <= abs(exact.value) * Fraction(2, 10**6)


def _ends(denominator: int) -> bool:
    """Whether its fractions are decimals with an end."""
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1


def _formulas(reference: Formula, answer: Formula) -> Verdict:
    if not units_agree(reference.unit, answer.unit):
        return "different"
    if _with_constant(reference.latex) == _with_constant(answer.latex):
        return "equal"
    if _is_bound(reference) and _is_bound(answer) and _relation(reference) != _relation(answer):
        return "different"
    one, other = statement(reference), statement(answer)
    return "equal" if one is not None and one == other else "unknown"


def _relation(bound: Formula) -> str:
    found = _BOUND.match(bound.latex)
    return found[0].strip() if found else ""


def _with_constant(latex: str) -> str:
    """Without blanks, and with ``+ C`` for any of the usual signs of a constant of integration."""
    return _CONSTANT.sub("+C", _squeezed(latex))


def _squeezed(latex: str) -> str:
    return latex.replace(" ", "").replace("{}", "")


def _several(reference: Items, answer: Items, near: Tolerance) -> Verdict:
    if any(isinstance(one, Quantity) and one.name for one in (*reference.items, *answer.items)):
        if "()" in (reference.brackets, answer.brackets):
            return _by_items(_by_name(reference), _by_name(answer), near)
        return "unknown" if _by_items(reference, answer, near) == "different" else "equal"
    return _by_items(reference, answer, near)


def _by_name(value: Items) -> Items:
    """``y = 3, x = 2`` in the order of its names, as the point (2, 3) has it."""
    names = [one.name if isinstance(one, Quantity) else "" for one in value.items]
    if value.brackets or not all(names) or len({*names}) < len(names):
        return value
    return Items(tuple(one for _, one in sorted(zip(names, value.items, strict=True), key=lambda pair: pair[0])))


def _by_items(reference: Items, answer: Items, near: Tolerance) -> Verdict:
    ordered = [side.brackets not in ("", "{}") for side in (reference, answer)]
    if reference.brackets and answer.brackets and reference.brackets != answer.brackets:
        return _ranges(reference, answer, near)
    lefts, rights = list(reference.items), list(answer.items)
    if len(lefts) != len(rights):
        return _without_order(lefts, rights, near) if not any(ordered) else "different"
    if any(ordered):
        return _all([compare_values(left, right, near) for left, right in zip(lefts, rights, strict=True)])
    return _without_order(lefts, rights, near)


def _ranges(reference: Items, answer: Items, near: Tolerance) -> Verdict:
    """``3-5`` is ``3 to 5``; a set is no tuple, and no interval is another."""
    if {reference.brackets, answer.brackets} != {RANGE, TO}:
        return "different"
    return _all([compare_values(one, other, near) for one, other in zip(reference.items, answer.items, strict=True)])


def _without_order(lefts: list[Value], rights: list[Value], near: Tolerance) -> Verdict:
    """As sets: each has its like on the other side."""
    verdicts = [[compare_values(left, right, near) for right in rights] for left in lefts]
    columns = [list(column) for column in zip(*verdicts, strict=True)]
    return _all([_any(row) for row in (*verdicts, *columns)])


def _grids(reference: Grid, answer: Grid, near: Tolerance) -> Verdict:
    if [len(row) for row in reference.rows] != [len(row) for row in answer.rows]:
        return "different"
    cells = [
        compare_values(left, right, near)
        for rows in zip(reference.rows, answer.rows, strict=True)
        for left, right in zip(*rows, strict=True)
    ]
    return _all(cells)


def _all(verdicts: list[Verdict]) -> Verdict:
    return "different" if "different" in verdicts else "unknown" if "unknown" in verdicts else "equal"


def _any(verdicts: list[Verdict]) -> Verdict:
    return "equal" if "equal" in verdicts else "unknown" if "unknown" in verdicts else "different"
