"""Calls of tools in the messages of files: OpenAI's ``tool_calls`` and ``function_call``, ShareGPT's messages that are
from ``function_call``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.values import is_nothing, shown
from groupwise.values.spelled import structure_of

KEYS = ("tool_calls", "function_call")
SHARE_GPT = ("function_call", "tool_call")
"""What a message of ShareGPT's is from whose value is calls."""


def calls_of(message: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The calls of a message, each ``{"type": "function", "function": {"name": ..., "arguments": {...}}}`` and perhaps
    an ``id``; arguments may be an object or its JSON text. Raises UserError."""
    key = next((key for key in KEYS if not is_nothing(message.get(key))), None)
    if key is None:
        return []
    value = structure_of(message[key])
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list | tuple):
        raise UserError(f"{where}: {key} is {shown(value)}; expected a list of calls, each with a name and arguments")
    return [_call(each, f"{where}: {key}[{number}]") for number, each in enumerate(value)]


def spelled_calls(text: Any) -> list[dict[str, Any]]:
    """The calls that a text is, as ShareGPT has them; none where it is anything else."""
    value = structure_of(text)
    values = value if isinstance(value, list) else [value]
    try:
        return [_call(each, "") for each in values if each is not None]
    except UserError:
        return []


def _call(value: Any, where: str) -> dict[str, Any]:
    inner = value.get("function") if isinstance(value, Mapping) else None
    inner = inner if isinstance(inner, Mapping) else value
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        raise UserError(f'{where} is {shown(value)}; expected {{"name": ..., "arguments": {{...}}}} in "function"')
    arguments = inner.get("arguments", inner.get("parameters"))
    found = {"type": "function", "function": {"name": name, "arguments": _arguments(arguments, f"{where} ({name})")}}
    id = value.get("id")
    return {"id": id, **found} if isinstance(id, str) and id else found


def _arguments(value: Any, where: str) -> dict[str, Any]:
    """Without those that are null: tables made by arrow have every name in every call."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: arguments is {shown(value)}, which is no JSON; expected an object") from error
    if is_nothing(value):
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: arguments is {shown(value)}; expected an object")
    return {str(name): argument for name, argument in value.items() if argument is not None}
