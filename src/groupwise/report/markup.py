"""This module writes markup that cannot be broken by what a model wrote: every child and attribute is escaped unless it
is ``Html``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any


class Html(str):
    """This is text that is markup already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: Any) -> Html:
    """Returns ``<name attributes>children</name>``. ``class_`` is class, ``data_x`` data-x; None and False leave one
    out, a list or dict becomes JSON."""
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value not in (None, False))
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Html:
    """Puts children one after another, escaped where they are plain text."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def _attribute(key: str, value: Any) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = json.dumps(value, separators=(",", ":")) if isinstance(value, (list, dict)) else str(value)
    return f' {name}="{escape(text)}"'


def number(value: float | None, signed: bool = False) -> str:
    """Writes three digits, a true minus sign, thousands apart; whole numbers as such; a dash for None."""
    if value is None:
        return "–"
    size = abs(value)
    if size >= 1e15:
        text = f"{size:.3g}"
    elif size >= 100 or size == round(size):
        text = f"{size:,.0f}"
    elif size >= 0.1:
        text = f"{size:.{1 if size >= 10 else 2 if size >= 1 else 3}f}"
    else:
        text = f"{size:.3g}"
    sign = "−" if value < 0 and text.strip("0.") else "+" if signed and value > 0 else ""
    return sign + text


def share(value: float | None) -> str:
    """A share of problems, always with three decimals so that columns align."""
    return "–" if value is None else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Returns ``42 s``, ``4 min 7 s``, ``1 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
