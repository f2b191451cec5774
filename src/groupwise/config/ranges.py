"""Every number of a recipe has a range, declared beside it: ``rate: Annotated[float, "[0, 1)"]``.

An interval is written as in mathematics: a square bracket holds its end, a round one does not, and ``inf`` has none.
A number without one must be finite. What is declared is looked at in one place, whatever the number came through: the
command line, a file of options, Python.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any

from groupwise.errors import UserError

_INTERVAL = re.compile(r"([\[(])\s*(-?[\w.+-]+)\s*,\s*(-?[\w.+-]+)\s*([\])])")


def refuse_number(option: str, value: Any, interval: str, whole: bool = False) -> None:
    """Raises UserError where ``value`` does not lie in ``interval``, or is no whole number where one is expected."""
    if not _lies_in(value, interval, whole):
        raise UserError(f"{option} is {value!r}; expected {in_words(interval, whole)}")


def in_words(interval: str, whole: bool = False) -> str:
    """Says ``"[0, 1)"`` as ``a number, at least 0 and less than 1``."""
    low, high, holds_low, holds_high = _read(interval)
    least, most = "at least" if holds_low else "more than", "at most" if holds_high else "less than"
    ends = [f"{least} {low:g}"] * math.isfinite(low) + [f"{most} {high:g}"] * math.isfinite(high)
    kind = "a whole number" if whole else "a number" if ends else "a finite number"
    return ", ".join((kind, " and ".join(ends))) if ends else kind


def refuse_numbers(value: Any, prefix: str) -> None:
    """Raises UserError for the first number of a dataclass, or of those inside it, that lies outside its range. It is
    named as on the command line: ``--algorithm.kl.coefficient``, where ``prefix`` is ``--``."""
    for option, number, interval, whole in numbers(value, prefix):
        refuse_number(option, number, interval, whole)


def numbers(value: Any, prefix: str = "--") -> Iterator[tuple[str, Any, str, bool]]:
    """Yields ``(option, value, interval, whole)`` of every number in a dataclass and in those inside it."""
    declared = _declared(type(value))  # type: ignore[arg-type]
    for each in fields(value):
        inner = getattr(value, each.name)
        interval, kinds = declared[each.name]
        name = f"{prefix}{each.name}"
        if interval is not None or float in kinds or int in kinds or isinstance(inner, float):
            whole = int in kinds and float not in kinds
            for number in inner if isinstance(inner, tuple) else (inner,):
                if number is not None and not isinstance(number, bool | str) and not is_dataclass(number):
                    yield name, number, interval or "(-inf, inf)", whole
        if is_dataclass(inner) and not isinstance(inner, type):
            yield from numbers(inner, f"{name}.")


@lru_cache(maxsize=1024)
def _declared(kind: type[Any]) -> Mapping[str, tuple[str | None, frozenset[Any]]]:
    """Of each field its interval, None where none is declared, and what it is made of."""
    try:
        hints: Mapping[str, Any] = typing.get_type_hints(kind, include_extras=True)
    except (NameError, TypeError):  # a class of the user's own, whose names are not there at run time
        hints = {}
    of_fields = {each.name: hints.get(each.name) for each in fields(kind)}
    return {name: (_interval(hint), frozenset(_kinds(hint))) for name, hint in of_fields.items()}


def _interval(hint: Any) -> str | None:
    if typing.get_origin(hint) is not Annotated:
        return None
    return next((part for part in hint.__metadata__ if isinstance(part, str) and _INTERVAL.fullmatch(part)), None)


def _kinds(hint: Any) -> Iterator[Any]:
    """The plain types that a hint is made of; of a choice between literals, none."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        yield from _kinds(typing.get_args(hint)[0])
    elif origin in (tuple, typing.Union, UnionType):
        for part in typing.get_args(hint):
            yield from _kinds(part)
    elif isinstance(hint, type):
        yield hint


def _lies_in(value: Any, interval: str, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return False
    low, high, holds_low, holds_high = _read(interval)
    number: Any = value
    if not math.isfinite(number):
        return False
    return (low <= number if holds_low else low < number) and (number <= high if holds_high else number < high)


@cache
def _read(interval: str) -> tuple[float, float, bool, bool]:
    found = _INTERVAL.fullmatch(interval)
    if found is None:
        raise ValueError(f"{interval!r} is no interval; expected one such as [0, 1) or (0, inf)")
    return float(found[2]), float(found[3]), found[1] == "[", found[4] == "]"
