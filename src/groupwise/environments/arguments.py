"""A model's arguments against what a tool takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

Schema = Mapping[str, Any]
"""``{"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}``, as OpenAI's."""

SHOWN_LETTERS = 80
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (Mapping,),
    "null": (type(None),),
}
_PLURALS = {"array": "a list", "object": "an object", "integer": "a whole number", "null": "null"}


def function_of(schema: Schema) -> Mapping[str, Any]:
    """Returns name, description and parameters, whether or not they stand inside ``function``."""
    inner = schema.get("function")
    return inner if isinstance(inner, Mapping) else schema


def checked(tool: Schema, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The arguments as the tool takes them (a whole float for an integer is one), and what is wrong with them, in a few
    words; empty where nothing is."""
    parameters = function_of(tool).get("parameters") or {}
    properties = parameters.get("properties") or {}
    missing = [name for name in parameters.get("required") or () if name not in arguments]
    if missing:
        return {}, f"the argument {', '.join(missing)} is missing"
    if not parameters.get("additionalProperties"):
        unknown = next((name for name in arguments if name not in properties), None)
        if unknown is not None:
            return {}, f"there is no argument {short(unknown)}{_nearest(unknown, list(properties))}"
    found = {}
    for name, value in arguments.items():
        found[name], wrong = _fitted(value, properties.get(name) or {}, f"the argument {short(name)}")
        if wrong:
            return {}, wrong
    return found, ""


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Says whether a value is what the schema says."""
    return not _fitted(value, schema, "")[1]


def short(value: Any) -> str:
    """A value of a model's as a message says it: one line, not too long."""
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 20]} ... {text[-15:]}"


def _nearest(name: Any, names: Sequence[str]) -> str:
    close = get_close_matches(str(name)[:SHOWN_LETTERS], names, n=1)
    hint = f", perhaps {close[0]}" if close else ""
    return f"{hint}; there is {', '.join(names)}" if names else "; it takes none"


def _fitted(value: Any, schema: Mapping[str, Any], where: str) -> tuple[Any, str]:
    """The value as the schema wants it, and what is wrong with it."""
    if not isinstance(schema, Mapping) or (value is None and schema.get("nullable")):
        return value, ""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        tries = [_fitted(value, choice, where) for choice in choices]
        return next((fit for fit in tries if not fit[1]), (value, f"{where} is {short(value)}, which fits no choice"))
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds or ())
    if isinstance(value, float) and "integer" in kinds and "number" not in kinds and value.is_integer():
        value = int(value)
    known = [kind for kind in kinds if kind in _KINDS]
    if known and not any(_is(value, kind) for kind in known):
        wanted = " or ".join(_PLURALS.get(kind, f"a {kind}") for kind in known)
        return value, f"{where} is {short(value)!r} ({_kind(value)}); expected {wanted}"
    allowed = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if allowed and value not in allowed:
        return value, f"{where} is {short(value)!r}; expected one of {', '.join(map(str, allowed))}"
    if isinstance(value, list | tuple):
        return _array(value, schema, where)
    return _object(value, schema, where) if isinstance(value, Mapping) else (value, "")


def _array(value: Sequence[Any], schema: Mapping[str, Any], where: str) -> tuple[Any, str]:
    first, rest = schema.get("prefixItems") or [], schema.get("items")
    least, most = schema.get("minItems") or 0, schema.get("maxItems")
    if len(value) < least or (isinstance(most, int) and len(value) > most):
        wanted = least if most == least else f"at least {least}" if len(value) < least else f"at most {most}"
        return value, f"{where} has {len(value)} items; expected {wanted}"
    kinds = [first[place] if place < len(first) else rest for place in range(len(value))]
    tries = [_fitted(each, kinds[n] or {}, f"{where}[{n}]") for n, each in enumerate(value)]
    return [fit for fit, _ in tries], next((wrong for _, wrong in tries if wrong), "")


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> tuple[Any, str]:
    properties = schema.get("properties") or {}
    missing = next((name for name in schema.get("required") or () if name not in value), None)
    if missing is not None:
        return value, f"{where} has no {missing}"
    rest = schema.get("additionalProperties")
    unknown = next((name for name in value if name not in properties), None) if rest is False else None
    if unknown is not None:
        return value, f"{where} has {short(unknown)}{_nearest(unknown, list(properties))}"
    rest = rest if isinstance(rest, Mapping) else {}
    tries = {name: _fitted(each, properties.get(name, rest), f"{where}.{short(name)}") for name, each in value.items()}
    return {name: fit for name, (fit, _) in tries.items()}, next((wrong for _, wrong in tries.values() if wrong), "")


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _kind(value: Any) -> str:
    return next((kind for kind in _KINDS if _is(value, kind)), type(value).__name__)
