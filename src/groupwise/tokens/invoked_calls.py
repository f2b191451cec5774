"""This module reads calls of tools that are written as tags with names: ``<invoke name="search">``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from groupwise.environments.protocol import Call
from groupwise.tokens.call_values import Types, json_at, skipped, typed_call, until


def invoked(prefix: str) -> Callable[[str, Types], Iterator[Call | str]]:
    """Returns a reader of ``<invoke name="f"><parameter name="key">value</parameter></invoke>``, whose tags begin with
    ``prefix``: MiniMax-M2, and DeepSeek-V3.2, where ``string="false"`` says that a value is JSON."""
    opens, closes = f"<{prefix}invoke name=", f"</{prefix}invoke>"

    def read(text: str, types: Types) -> Iterator[Call | str]:
        at = text.find(opens)
        while at >= 0:
            name, at = until(text, at + len(opens), ">")
            values: dict[str, Any] = {}
            arguments, wrong, at = _parameters(text, skipped(text, at), prefix, values)
            if at < 0:
                yield "a tag is not closed"
                return
            name = name.strip().strip("\"'")
            if not wrong and not text.startswith(closes, at):
                wrong = f"the call of {name[:64]} is not closed"
            yield wrong or typed_call(name, arguments, types, values)
            at = text.find(opens, at)

    return read


def _parameters(text: str, at: int, prefix: str, values: dict[str, Any]) -> tuple[dict[str, str], str, int]:
    """The texts of a call's parameters by name, what is wrong with them, and where they end; -1: nowhere. ``values``
    gets what JSON has said, where a tag says that it is JSON."""
    opens, closes = f"<{prefix}parameter name=", f"</{prefix}parameter>"
    found: dict[str, str] = {}
    wrong = ""
    while at >= 0 and text.startswith(opens, at):
        head, at = until(text, at + len(opens), ">")
        value, at = until(text, at, closes)
        name, _, rest = head.partition(" ")
        name = name.strip("\"'")
        if 'string="false"' in rest and at >= 0:
            known, end, said = json_at(value, 0)
            if skipped(value, end) == len(value):
                values[name] = known
            wrong = wrong or (f"the argument {name[:64]}: {said}" if said else "")
        found[name] = value.removeprefix("\n").removesuffix("\n")
        at = skipped(text, at)
    return found, wrong, at
