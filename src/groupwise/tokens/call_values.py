"""Pieces of a call: JSON somewhere in a text, a name with its arguments, and text typed by a schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from groupwise.environments.protocol import Call

Types = Mapping[str, Mapping[str, Any]]
"""Of each tool the schemas of its parameters, by name."""
_BLANK = re.compile(r"\s*")
SHOWN_LETTERS = 60
ARGUMENTS = ("arguments", "parameters")
BESIDE = ("name", "id", "type", "index", "call_id", "description")
"""Of an object that calls, what says nothing of its arguments."""


def until(text: str, start: int, mark: str) -> tuple[str, int]:
    """Returns what stands before the next mark, and where that ends; -1 where there is none."""
    stop = text.find(mark, start) if start >= 0 else -1
    return (text[start:stop], stop + len(mark)) if stop >= 0 else ("", -1)


def skipped(text: str, start: int) -> int:
    """Returns where the blanks from ``start`` on end; -1 stays -1."""
    return start if start < 0 else _BLANK.match(text, start).end()  # type: ignore[union-attr]


def json_at(text: str, start: int) -> tuple[Any, int, str]:
    """The JSON value that begins at ``start``, where it ends, and why it cannot be read (empty: it can)."""
    start = skipped(text, start)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        near = text[start : start + SHOWN_LETTERS].strip()
        return None, start, f"it is no JSON ({error.msg} at character {error.pos - start}): {near!r}"
    except ValueError as error:  # a constant or a number that JSON has not
        return None, start, f"it is no JSON ({str(error)[:100]})"
    except RecursionError:
        return None, start, "its values are nested too deeply"
    return value, end, ""


def call_of(value: Any) -> Call | str:
    """Returns ``{"name": ..., "arguments": {...}}`` as a call, or what is wrong with it."""
    if not isinstance(value, Mapping):
        return f"it is {_kind(value)}; expected an object with name and arguments"
    inner = value.get("function")
    value = inner if isinstance(inner, Mapping) else value
    if "name" not in value:
        return f"the object has no name; it has {', '.join(map(str, value))[:SHOWN_LETTERS] or 'nothing'}"
    given = next((value[key] for key in ARGUMENTS if key in value), None)
    others = [str(key) for key in value if key not in (*ARGUMENTS, *BESIDE)]
    if given is None and others:
        return f"the object has no arguments; beside the name it has {', '.join(others)[:SHOWN_LETTERS]}"
    return arguments_of(value["name"], given, value.get("id"))


def arguments_of(name: Any, arguments: Any, id: Any = "") -> Call | str:
    """A call of a name with arguments: an object, one written as a text, or nothing; or what is wrong with it."""
    if not isinstance(name, str) or not name.strip():
        return f"the tool's name is {_kind(name)}; expected a name"
    if isinstance(arguments, str):
        arguments, _, wrong = json_at(arguments, 0)
        if wrong:
            return f"the arguments of {name[:SHOWN_LETTERS]}: {wrong}"
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, Mapping):
        return f"the arguments of {name[:SHOWN_LETTERS]} are {_kind(arguments)}; expected an object"
    try:
        json.dumps([name, arguments], ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return "it holds a lone surrogate, which is no character"
    except ValueError as error:  # an infinite number, or a whole one of thousands of digits
        return f"the arguments of {name[:SHOWN_LETTERS]}: it is no JSON ({str(error)[:100]})"
    except RecursionError:
        return "its values are nested too deeply"
    return Call(name.strip(), dict(arguments), id if isinstance(id, str) else "")


def typed(text: str, schema: Any) -> Any:
    """A text as the first type of its schema that it can be; where it can be none, the text."""
    for kind in _kinds(schema):
        found = _as(text.strip(), kind)
        if found is not _NO:
            return found
    return text


def typed_call(
    name: str, arguments: Mapping[str, str], types: Types, values: Mapping[str, Any] | None = None
) -> Call | str:
    """A call whose arguments are texts, each as the first type of its schema that it can be. ``values``: those of
    which the model says what they are, which counts where a schema does not say it."""
    name = name.strip()
    schemas = types.get(name) or {}
    found = {key: typed(value, schemas.get(key)) for key, value in arguments.items()}
    said = {key: value for key, value in (values or {}).items() if not _kinds(schemas.get(key))}
    return arguments_of(name, found | said)


_NO = object()


def _kinds(schema: Any) -> list[str]:
    if not isinstance(schema, Mapping):
        return []
    kinds = schema.get("type")
    found = [kinds] if isinstance(kinds, str) else [kind for kind in kinds or () if isinstance(kind, str)]
    found += [kind for choice in schema.get("anyOf") or schema.get("oneOf") or () for kind in _kinds(choice)]
    return [*found, *(["null"] if schema.get("nullable") else [])]


def _as(text: str, kind: str) -> Any:
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), _NO)
    if kind == "null":
        return None if text.lower() in ("null", "none") else _NO
    kinds: dict[str, tuple[type, ...]] = {
        "integer": (int,),
        "number": (int, float),
        "object": (dict,),
        "array": (list,),
    }
    if kind not in kinds:
        return _NO
    value, end, wrong = json_at(text, 0)
    fits = not wrong and end == len(text) and isinstance(value, kinds[kind]) and not isinstance(value, bool)
    return value if fits else _NO


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no value of JSON")


_DECODER = json.JSONDecoder(strict=False, parse_float=_finite, parse_constant=_refused)
