"""The inline calculations of a worked solution, ``<<48/2=24>>``, and whether they hold. Text is read, never run."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable

CALCULATION = re.compile(r"<<([^<>]*)>>")
TOLERANCE = 1e-3
LONGEST = 500  # characters of one side
DEEPEST = 50  # brackets, signs and powers inside each other

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
_TOKEN = re.compile(rf"\s*((?:{_DIGITS})(?:[eE][-+]?[0-9]+)?|\*\*|//|[-+*/%()])")
_SUMS: dict[str, Callable[[float, float], float]] = {"+": operator.add, "-": operator.sub}
_PRODUCTS: dict[str, Callable[[float, float], float]] = {
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


def calculations(text: str) -> tuple[str, ...]:
    """Returns what stands between ``<<`` and ``>>``, in order, spaces removed: two solutions with the same list reason
    alike.

    >>> calculations("Half is <<48/2=24>>24, together <<48 + 24 = 72>>72.")
    ('48/2=24', '48+24=72')
    """
    return tuple("".join(found.split()) for found in CALCULATION.findall(text))


def calculations_hold(text: str) -> bool:
    """Says whether every inline calculation of a solution is true; so also where there is none."""
    return all(holds(found) for found in CALCULATION.findall(text))


def holds(calculation: str) -> bool:
    """Says whether all sides of ``48/2=24`` are arithmetic and less than 1e-3 apart; False without ``=``."""
    first, *others = (value_of(side) for side in calculation.split("="))
    if first is None or not others:
        return False
    return all(value is not None and abs(first - value) < TOLERANCE for value in others)


def value_of(expression: str) -> float | None:
    """Reads numbers, ``+ - * / // % **`` and brackets with Python's precedence, in float64; ``1,000`` is a thousand.

    None for what is no arithmetic, has no finite real value, or is longer or deeper than a calculation ever is.
    """
    if len(expression) > LONGEST:
        return None
    try:
        reader = _Reader(_tokens(expression))
        value = reader.sum(0)
    except (ValueError, ArithmeticError):
        return None
    return value if not reader.left and math.isfinite(value) else None


def _tokens(expression: str) -> list[str]:
    tokens, at, end = [], 0, len(expression.rstrip())
    while at < end:
        found = _TOKEN.match(expression, at)
        if not found:
            raise ValueError(f"no arithmetic: {expression[at:]!r}")
        tokens.append(found[1])
        at = found.end()
    return tokens


class _Reader:
    """This reader descends recursively, a method a level of precedence. It raises ValueError or ArithmeticError."""

    def __init__(self, tokens: list[str]) -> None:
        self.left = tokens[::-1]  # the next one is last

    def sum(self, depth: int) -> float:
        value = self._product(depth)
        while self.left and self.left[-1] in _SUMS:
            value = _SUMS[self.left.pop()](value, self._product(depth))
        return value

    def _product(self, depth: int) -> float:
        value = self._signed(depth)
        while self.left and self.left[-1] in _PRODUCTS:
            value = _PRODUCTS[self.left.pop()](value, self._signed(depth))
        return value

    def _signed(self, depth: int) -> float:
        if depth > DEEPEST:
            raise ValueError("too deep")
        if self._next("+"):
            return self._signed(depth + 1)
        return -self._signed(depth + 1) if self._next("-") else self._power(depth)

    def _power(self, depth: int) -> float:
        base = self._atom(depth)
        return math.pow(base, self._signed(depth + 1)) if self._next("**") else base

    def _atom(self, depth: int) -> float:
        if self._next("("):
            value = self.sum(depth + 1)
            if not self._next(")"):
                raise ValueError("a bracket is not closed")
            return value
        if not self.left:
            raise ValueError("a number is missing")
        return float(self.left.pop().replace(",", ""))

    def _next(self, token: str) -> bool:
        """Takes the next token where it is this one."""
        if self.left and self.left[-1] == token:
            self.left.pop()
            return True
        return False
