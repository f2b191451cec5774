"""Every number of a recipe has a range, declared beside it: ``rate: Annotated[float, "[0, 1)"]``, and a choice between
words names them: ``place: Literal["objective", "reward"]``.

An interval is written as in mathematics: a square bracket holds its end, a round one does not, and ``inf`` has none.
A number without one must be finite. What is declared is looked at in one place, whatever the number came through: the
command line, a file of options, Python.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from numbers import Integral, Real
from types import FunctionType, ModuleType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal

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


def refuse_options(value: Any, prefix: str) -> None:
    """Raises UserError for the first number, word or truth value of a dataclass, or of those inside it, that is none of
    those declared."""
    refuse_numbers(value, prefix)
    for option, word, allowed in words(value, prefix):
        if not any(word is one or (type(word) is type(one) and word == one) for one in allowed):
            names = [str(one).lower() if isinstance(one, bool) else str(one) for one in allowed]
            near = get_close_matches(str(word), names, n=1)
            hint = f"; perhaps you meant {near[0]}" if near else ""
            raise UserError(f"{option} is {word!r}{hint}; expected {', '.join(names[:-1])} or {names[-1]}")


def words(value: Any, prefix: str = "--") -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Yields ``(option, value, allowed values)`` of every choice between words or truth values in a dataclass and in
    those inside it."""
    declared = _choices(type(value))  # type: ignore[arg-type]
    for each in fields(value):
        inner, allowed = getattr(value, each.name), declared[each.name]
        if allowed and inner is not None:
            for word in inner if isinstance(inner, tuple) else (inner,):
                yield f"{prefix}{each.name}", word, allowed
        if is_dataclass(inner) and not isinstance(inner, type):
            yield from words(inner, f"{prefix}{each.name}.")


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
    return {name: (_interval(hint), frozenset(_kinds(hint))) for name, hint in _hints(kind).items()}


@lru_cache(maxsize=1024)
def _choices(kind: type[Any]) -> Mapping[str, tuple[Any, ...]]:
    """Of each field the values that it can be chosen from; none where it is anything else than a choice."""
    return {name: tuple(_allowed(hint)) for name, hint in _hints(kind).items()}


def _hints(kind: type[Any]) -> Mapping[str, Any]:
    hints: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        names = _names_around(base)
        hints |= {name: _hint(said, names) for name, said in inspect.get_annotations(base).items()}
    return {each.name: hints.get(each.name) for each in fields(kind)}


def _names_around(kind: type[Any]) -> dict[str, Any]:
    """What the hints of a class can name: what its module has, or the file that it was run in."""
    made = vars(kind).get("__init__")
    around = made.__globals__ if isinstance(made, FunctionType) else {}
    return {**around, **vars(sys.modules.get(kind.__module__, ModuleType("")))}


def _hint(said: Any, names: dict[str, Any]) -> Any:
    one = SimpleNamespace(__annotations__={"hint": said})
    try:
        return typing.get_type_hints(one, names, include_extras=True)["hint"]
    except Exception:  # one of the user's own, whose names are not there at run time, or are something else
        return None


def _allowed(hint: Any) -> Iterator[Any]:
    """The values of a choice, also of one that may be None; nothing of a hint that allows anything else."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        yield from _allowed(typing.get_args(hint)[0])
    elif origin is Literal:
        yield from typing.get_args(hint)
    elif hint is bool:
        yield from (True, False)
    elif origin in (typing.Union, UnionType):
        parts = [tuple(_allowed(part)) for part in typing.get_args(hint) if part is not type(None)]
        yield from (value for part in parts for value in part if all(parts))
    elif origin is tuple:
        parts = [tuple(_allowed(part)) for part in typing.get_args(hint)[:1]]
        yield from (value for part in parts for value in part)


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
    try:
        if not math.isfinite(number):
            return False
    except OverflowError:  # a whole number beyond every float
        return False
    return (low <= number if holds_low else low < number) and (number <= high if holds_high else number < high)


@cache
def _read(interval: str) -> tuple[float, float, bool, bool]:
    found = _INTERVAL.fullmatch(interval)
    if found is None:
        raise ValueError(f"{interval!r} is no interval; expected one such as [0, 1) or (0, inf)")
    return float(found[2]), float(found[3]), found[1] == "[", found[4] == "]"
