"""This module refuses single operations of a chat template that would make more than a template may hold, before they
are done.

jinja's sandbox lets an environment look at operators (``intercepted_binops``) and calls first. transformers makes the
environment, so its class is told: outside of ``bounded`` it does what it did before.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2.defaults import DEFAULT_FILTERS
from jinja2.sandbox import SandboxedEnvironment

_LIMIT: ContextVar[tuple[int, type[Exception]] | None] = ContextVar("limit", default=None)
_WIDTH = re.compile(r"[0-9]{6,}")
_SIZED = (str, bytes, list, tuple)


@contextmanager
def bounded(most: int, error: type[Exception]) -> Iterator[None]:
    """Makes operations of a template inside raise ``error`` where they would make more than ``most`` letters or
    items."""
    token = _LIMIT.set((most, error))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def product(operator: str, left: Any, right: Any) -> int:
    """Returns how many letters, items or digits the result has, at the most."""
    if operator == "*":
        for sized, times in ((left, right), (right, left)):
            if isinstance(sized, _SIZED) and isinstance(times, int):
                return len(sized) * max(times, 0)
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if operator == "**" and abs(left) > 1 else 0
        return bits // 3
    return widest(left) + largest(right) if operator == "%" and isinstance(left, str | bytes) else 0


def widest(text: str | bytes) -> int:
    """Returns the largest number in a format."""
    said = text if isinstance(text, str) else text.decode("latin-1")
    return max((int(found[:20]) for found in _WIDTH.findall(said)), default=0)


def largest(value: Any) -> int:
    """The largest number among arguments: a width or a count."""
    if isinstance(value, int):
        return abs(value)
    return max(map(largest, value), default=0) if isinstance(value, tuple) else 0


def made_by_call(function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Returns how many letters a method of a text makes of its arguments, at the most; 0 for what is no such method."""
    text = getattr(getattr(function, "__wrapped__", function), "__self__", None)
    if not isinstance(text, str | bytes):
        return 0
    name = getattr(function, "__name__", "")
    given = (*arguments, *named.values())
    if name == "join":
        items = [item for each in given if isinstance(each, list | tuple) for item in each]
        return sum(len(item) for item in items if isinstance(item, str | bytes)) + len(text) * len(items)
    if name == "replace":
        return len(text) + (len(text) + 1) * max(
            (len(each) for each in given if isinstance(each, str | bytes)), default=0
        )
    return largest(given) + (widest(text) if name.startswith("format") else 0)


def made_by_filter(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Returns the same of a filter."""
    given = (*arguments, *named.values())
    texts = [each for each in given if isinstance(each, str | bytes)]
    if name == "join":
        items = [item for each in given if isinstance(each, list | tuple) for item in each]
        between = max((len(each) for each in texts), default=0)
        return sum(len(item) if isinstance(item, str | bytes) else 1 for item in items) + between * len(items)
    if name == "replace":
        return (len(texts[0]) + 1) * max(map(len, texts)) if texts else 0
    return largest(given) + (max(map(widest, texts), default=0) if name == "format" else 0)


def _refuse(size: int) -> None:
    limit = _LIMIT.get()
    if limit is not None and size > limit[0]:
        raise limit[1](f"one operation would make {min(size, 10**18):,} letters or items")


def _binop(self: SandboxedEnvironment, context: Any, operator: str, left: Any, right: Any) -> Any:
    _refuse(product(operator, left, right))
    return self.binop_table[operator](left, right)


def _watched_call(before: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(before)
    def call(self: SandboxedEnvironment, context: Any, function: Any, *arguments: Any, **named: Any) -> Any:
        _refuse(made_by_call(function, arguments, named))
        return before(self, context, function, *arguments, **named)

    return call


def _watched_filter(name: str, before: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(before)
    def filtered(*arguments: Any, **named: Any) -> Any:
        _refuse(made_by_filter(name, arguments, named))
        return before(*arguments, **named)

    return filtered


SandboxedEnvironment.intercepted_binops = frozenset(("*", "**", "%"))
SandboxedEnvironment.call_binop = _binop  # type: ignore[method-assign]
SandboxedEnvironment.call = _watched_call(SandboxedEnvironment.call)  # type: ignore[method-assign]
for _name in ("center", "indent", "format", "join", "replace", "wordwrap", "truncate", "batch", "slice"):
    DEFAULT_FILTERS[_name] = _watched_filter(_name, DEFAULT_FILTERS[_name])
