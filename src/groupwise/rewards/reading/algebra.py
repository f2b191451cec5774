"""This module tests formulas for equality by math-verify. It runs in a process that can be killed: some inputs never
end."""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import Any

from groupwise.rewards.reading.notation import in_ascii, with_powers
from groupwise.rewards.reading.tolerances import Tolerance

WARM_UP = [
    {"gold": gold, "answer": answer}
    for gold, answer in (
        (["formula", r"\frac{1}{2}+x^2"], ["formula", "x^2 + 0.5"]),
        (["formula", r"\begin{vmatrix} 1 & 2 \\ 3 & \sqrt{4} \end{vmatrix}"], ["formula", r"1 \cdot 2 - 6"]),
        (["formula", r"(-\infty, 3] \cup \{5, 7\}"], ["formula", r"\{7, 5\} \cup (-\infty, 3]"]),
        (["formula", r"x \le \sin(\pi/6)"], ["formula", r"\frac{1}{2} \ge x"]),
        (["formula", r"y = 2x + \ln(e)"], ["formula", "2x + 1"]),
        (["formula", r"3 + 4i"], ["number", r"5\%"]),
        (["formula", r"\int_0^1 x dx + \sum_{k=1}^3 k + 3! + \binom{4}{2} + |x|"], ["formula", "x = 1, y = 2"]),
        (["items", "()", [["number", "1"], ["formula", r"\sqrt{2}"]]], ["prose", r"so we have $(1, \sqrt{2})$."]),
    )
]
_SAME, _CLOSE, _CLOSE_TO_A_DECIMAL = 1e-25, 1e-12, 2e-6
_SIGN = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])\s*+")
_POINTS = ("1.3700089000123456789", "2.7100071300765432198", "0.7770012300918273645")
_IN_DEGREES = re.compile(
    r"(?P<function>\\(?:sin|cos|tan|cot|sec|csc))[ ({]{0,3}(?P<angle>[0-9]{1,4}) ?\^ ?\{? ?\\circ ?\}?[ )}]?"
)
"""``\\sin 60^\\circ``: math-verify leaves the degrees out."""
_DELIMITERS = ("$", r"\(", r"\[", r"\boxed")


def _in_radians(match: re.Match[str]) -> str:
    return rf"{match['function']}(\frac{{{match['angle']} \pi}}{{180}})"


def compare(item: dict[str, Any]) -> str | list[bool]:
    """Returns ``equal``, ``different``, ``no answer`` or ``no gold``; with ``answers``, which of them equal ``answer``.

    ``gold`` and ``answer`` are values as ``reader.as_item`` writes them; with ``published`` they are texts that
    math-verify reads by its own rules.
    """
    if item.get("published"):
        return _published(item["gold"], item["answer"])
    absolute, relative = (Fraction(part) for part in item.get("tolerance", ("0", "0")))
    near = Tolerance(absolute, relative, bool(item.get("percent")))
    if "answers" in item:
        return [_verdict(other, item["answer"], near) == "equal" for other in item["answers"]]
    return _verdict(item["gold"], item["answer"], near)


def readable(values: list[Any]) -> list[bool]:
    """Says of each of some references whether math-verify reads it."""
    return [_is_readable(value) for value in values]


def _is_readable(value: Any) -> bool:
    kind, *rest = value
    if kind == "items":
        return all(map(_is_readable, rest[1]))
    if kind == "grid":
        return all(_is_readable(cell) for row in rest[0] for cell in row)
    if kind == "words":
        return True
    found = _parse(value)  # the text itself where it cannot be parsed: then only the same text is equal to it
    return any(not isinstance(one, str) for one in found) or (bool(found) and rest[0].count("{") == rest[0].count("}"))


def _published(gold: str, answer: str) -> str:
    import math_verify

    golds, answers = (math_verify.parse(text, parsing_timeout=None) for text in (gold, answer))
    if not golds or not answers:
        return "no answer" if golds else "no gold"
    return "equal" if math_verify.verify(golds, answers, timeout_seconds=None) else "different"


def _verdict(gold: Any, answer: Any, near: Tolerance) -> str:
    if gold == answer:
        return "equal"
    if gold[0] == answer[0] == "grid":
        return _grids(gold[1], answer[1], near)
    if gold[0] == answer[0] == "items":
        verdict = _items(gold, answer, near)
        return verdict if verdict == "equal" or (gold[1] and answer[1]) else _leaf(gold, answer, near)
    return _leaf(gold, answer, near)


def _grids(golds: Any, answers: Any, near: Tolerance) -> str:
    if [len(row) for row in golds] != [len(row) for row in answers]:
        return "different"
    pairs = [pair for rows in zip(golds, answers, strict=True) for pair in zip(*rows, strict=True)]
    return "equal" if all(_verdict(*pair, near) == "equal" for pair in pairs) else "different"


def _items(gold: Any, answer: Any, near: Tolerance) -> str:
    golds, answers = gold[2], answer[2]
    if gold[1] and answer[1] and gold[1] != answer[1]:
        return "different"
    if any(side[1] not in ("", "{}") for side in (gold, answer)):
        same = len(golds) == len(answers)
        pairs = zip(golds, answers, strict=False)
        return "equal" if same and all(_verdict(*pair, near) == "equal" for pair in pairs) else "different"
    matches = [[_verdict(one, other, near) == "equal" for other in answers] for one in golds]
    return "equal" if all(map(any, matches)) and all(map(any, zip(*matches, strict=True))) else "different"


def _leaf(gold: Any, answer: Any, near: Tolerance) -> str:
    import math_verify

    golds, answers = _parse(gold), _parse(answer)
    if not golds or not answers:
        return "no answer" if golds else "no gold"
    if _have_other_names(golds[0], answers[0]):
        return "different"
    if not near.is_exact and (verdict := _near(golds[0], answers[0], near)) is not None:
        return "equal" if verdict else "different"
    if _contradicts(golds[0], answers[0]):  # first, because it takes a fraction of the time
        return "different"
    if _is_one_number(golds[0], answers[0]):
        return "equal"
    return "equal" if math_verify.verify(golds, answers, timeout_seconds=None) else "different"


def _have_other_names(gold: Any, answer: Any) -> bool:
    """Says whether both are equations that say what two different letters are: ``p = 3`` and ``q = 3``."""
    import sympy

    names = [one.lhs for one in (gold, answer) if isinstance(one, sympy.Eq) and one.lhs.is_Symbol]
    return len(names) == 2 and names[0] != names[1] and not any(one.rhs.free_symbols for one in (gold, answer))


def _parse(value: Any) -> Any:
    return _parse_text(_text(value), value[0] == "prose")


@functools.lru_cache(maxsize=256)
def _parse_text(text: str, is_prose: bool) -> Any:
    import math_verify

    if is_prose:
        return math_verify.parse(text, parsing_timeout=None)
    if (both := _with_both_signs(text)) is not None:
        return both
    found = math_verify.parse(f"${text}$", parsing_timeout=None) or math_verify.parse(text, parsing_timeout=None)
    return [_with_imaginary_unit(one) for one in found]


def _with_both_signs(text: str) -> Any:
    """The two numbers of ``\\frac{1 \\pm \\sqrt{5}}{2}``, which math-verify reads where nothing is around them; None of
    any other text."""
    import math_verify
    import sympy

    if text.count(r"\pm") + text.count(r"\mp") != 1 or any(mark in text for mark in ("=", ",", "<", ">", r"\in")):
        return None
    texts = (_SIGN.sub(sign, text) for sign in ("+", "-"))
    parsed = [math_verify.parse(f"${one}$", parsing_timeout=None) for one in texts]
    if not all(one and isinstance(one[0], sympy.Expr) for one in parsed):
        return None
    return [sympy.FiniteSet(*(_with_imaginary_unit(one[0]) for one in parsed))]


def _with_imaginary_unit(expression: Any) -> Any:
    """``i`` as the imaginary unit, where it is the only letter: elsewhere it may be an index."""
    import sympy

    if isinstance(expression, sympy.FiniteSet):
        return type(expression)(*map(_with_imaginary_unit, expression.args))
    if isinstance(expression, sympy.Eq) and expression.lhs.is_Symbol and str(expression.lhs) != "i":
        return sympy.Eq(expression.lhs, _with_imaginary_unit(expression.rhs), evaluate=False)
    letters = expression.free_symbols if isinstance(expression, sympy.Expr) else set()
    if {str(letter) for letter in letters} != {"i"} or expression in letters:
        return expression
    return expression.xreplace(dict.fromkeys(letters, sympy.I)).doit()


def _text(value: Any) -> str:
    """LaTeX of a value, or of prose the prose itself, in dollar signs where nothing else delimits mathematics."""
    kind, *rest = value
    if kind == "items":
        brackets, items = rest[0], ", ".join(_text(one) for one in rest[1])
        if not brackets:
            return items
        return rf"\{{{items}\}}" if brackets == "{}" else f"{brackets[0]}{items}{brackets[1]}"
    if kind == "grid":
        rows = r" \\ ".join(" & ".join(_text(cell) for cell in row) for row in rest[0])
        return rf"\begin{{pmatrix}}{rows}\end{{pmatrix}}"
    if kind == "words":
        return rf"\text{{{rest[0]}}}"
    text = in_ascii(rest[0]) if kind == "prose" else _IN_DEGREES.sub(_in_radians, with_powers(rest[0]))
    if kind == "prose" and not any(mark in text for mark in _DELIMITERS) and "\\" in text:
        return f"${text}$"
    return re.sub(r"\\text\{(?P<letter>[a-zA-Z])\}", r"\g<letter>", text) if kind == "formula" else text


def _contradicts(gold: Any, answer: Any) -> bool:
    """Whether two expressions that were called equal are different numbers: math-verify rounds at a fixed place."""
    numbers = [_numbers(one, other) for one, other in ((gold, answer), (answer, gold))]
    if not all(numbers):
        return False
    has_decimal = any(_has_decimal(one) for one in (gold, answer))
    close = _CLOSE_TO_A_DECIMAL if has_decimal else _CLOSE
    return any(_gap(a, b) > close * max(_size(a), _size(b)) for a, b in zip(*numbers, strict=True))


def _is_one_number(gold: Any, answer: Any) -> bool:
    """Whether two constants, written as they may be (``2^{0.5}`` and ``\\sqrt{2}``), are the same to thirty digits."""
    import sympy

    if not all(isinstance(one, sympy.Expr) and not one.free_symbols for one in (gold, answer)):
        return False
    one, other = _numbers(gold, answer), _numbers(answer, gold)
    return bool(one and other) and _gap(one[0], other[0]) <= _SAME * max(_size(one[0]), _size(other[0]))


def _gap(one: Any, other: Any) -> Any:
    return _size((one[0] - other[0], one[1] - other[1]))


def _size(number: Any) -> Any:
    return max(abs(number[0]), abs(number[1]))


def _numbers(one: Any, other: Any) -> list[Any]:
    """An expression's values at a few points, the same for both, as real and imaginary part with thirty digits; nothing
    where it is no expression."""
    import sympy

    sides = [_right_side(side) for side in (one, other)]
    if not all(isinstance(side, sympy.Expr) for side in sides):
        return []
    symbols = sorted(sides[0].free_symbols | sides[1].free_symbols, key=str)
    found = []
    for shift in range(len(_POINTS) if symbols else 1):
        points = {symbol: sympy.Float(_POINTS[(shift + n) % 3], 30) + n for n, symbol in enumerate(symbols)}
        try:
            number = _exact(sides[0]).doit().evalf(30, subs=points).as_real_imag()
        except (TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError):
            return []
        if not all(part.is_Number and part.is_finite for part in number):
            return []
        found.append(number)
    return found


def _exact(expression: Any) -> Any:
    import sympy

    return expression.xreplace({number: sympy.Rational(str(number)) for number in expression.atoms(sympy.Float)})


def _has_decimal(expression: Any) -> bool:
    import sympy

    return isinstance(expression, sympy.Basic) and bool(expression.atoms(sympy.Float))


def _right_side(expression: Any) -> Any:
    import sympy

    while isinstance(expression, sympy.And) and expression.args:
        expression = expression.args[-1]
    return expression.rhs if isinstance(expression, sympy.Eq) and expression.lhs.is_Symbol else expression


def _near(gold: Any, answer: Any, near: Tolerance) -> bool | None:
    """Whether two constants are within a tolerance; None where one is no constant."""
    numbers = [_numbers(one, other) for one, other in ((gold, answer), (answer, gold))]
    if not all(numbers) or len(numbers[0]) > 1 or any(number[1] for side in numbers for number in side):
        return None
    left, right = (Fraction(str(side[0][0])) for side in numbers)
    return near.accepts(left, right)
