"""This module says how far a number may be from the reference, and reads that out of a text."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction

from groupwise.errors import UserError

EXPECTED = "'exact', 'absolute 1e-3', 'relative 1e-4' or 'percent', also several in one text"


@dataclass(frozen=True)
class Tolerance:
    """A tolerance says how far a number may be from the reference: less than ``absolute``, or at most ``relative`` of
    the larger one."""

    absolute: Fraction = Fraction(0)
    relative: Fraction = Fraction(0)
    percent: bool = False
    """A hundred times as much and a hundredth are the same number."""

    @property
    def is_exact(self) -> bool:
        """Says whether only equal numbers are accepted."""
        return not (self.absolute or self.relative or self.percent)

    def accepts(self, reference: Fraction, number: Fraction) -> bool:
        """Says whether a number is near enough to the reference; where ``percent``, also to a hundred times or a
        hundredth of it."""
        sizes = [reference, reference * 100, reference / 100] if self.percent else [reference]
        return any(self._near(size, number) for size in sizes)

    def _near(self, one: Fraction, other: Fraction) -> bool:
        gap = abs(one - other)
        return gap == 0 or gap < self.absolute or gap <= self.relative * max(abs(one), abs(other))


@functools.cache
def tolerance(text: str) -> Tolerance:
    """The tolerance that a text names: ``exact``, ``absolute 1e-3``, ``relative 1e-4``, ``percent``, or several.

    Raises UserError for any other text, and for a size that is not positive.
    """
    sizes: dict[str, Fraction] = {}
    words, is_percent = text.replace(",", " ").split(), False
    while words:
        word = words.pop(0)
        if word == "percent":
            is_percent = True
        elif word in ("absolute", "relative") and words:
            sizes[word] = _size(words.pop(0), text)
        elif word != "exact" or sizes or words:
            raise UserError(f"unknown tolerance {text!r}; expected {EXPECTED}")
    if not text.strip():
        raise UserError(f"the tolerance is empty; expected {EXPECTED}")
    return Tolerance(sizes.get("absolute", Fraction(0)), sizes.get("relative", Fraction(0)), is_percent)


def _size(word: str, text: str) -> Fraction:
    try:
        size = Fraction(word)
    except (ValueError, ZeroDivisionError):
        size = Fraction(0)
    if size <= 0:
        raise UserError(
            f"the tolerance {text!r} has the size {word!r}; expected a number above 0, as in 'absolute 1e-3'"
        )
    return size
