"""This module reads type hints of tools beyond those that JSON has words for: what a model is told of them, and a
model's JSON as values of them."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import functools
import inspect
import pathlib
import types
import uuid
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from groupwise.environments.arguments import fits

_SIMPLE: dict[Any, dict[str, str]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
}
_TEXTS: dict[Any, tuple[str, Callable[[str], Any]]] = {
    datetime.date: ("date", datetime.date.fromisoformat),
    datetime.datetime: ("date-time", datetime.datetime.fromisoformat),
    datetime.time: ("time", datetime.time.fromisoformat),
    uuid.UUID: ("uuid", uuid.UUID),
    pathlib.Path: ("path", pathlib.Path),
}
_SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_LISTS: tuple[Any, ...] = (list, collections.abc.Sequence, collections.abc.MutableSequence)
_LISTS = (*_LISTS, collections.abc.Collection, collections.abc.Iterable)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def described(hint: Any, inside: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The JSON schema of a type hint. Raises TypeError for one whose values no JSON can become."""
    hint, origin, of = _parts(hint)
    if hint in inside:
        raise TypeError(f"{_shown(hint)} contains itself")
    inside = (*inside, hint) if _fields(hint) is not None else inside
    if origin in (Union, types.UnionType):
        return _union(of, inside)
    if origin is Literal:
        return {"enum": list(of)}
    if (fields := _fields(hint)) is not None:
        told = _told(hint)
        known = {name: {**described(each, inside), **told.get(name, {})} for name, each in fields.items()}
        return {"type": "object", "properties": known, "required": _required(hint), "additionalProperties": False}
    if origin is tuple and of and of[-1] is not ...:
        items = [described(each, inside) for each in of]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (tuple, *_SETS, *_LISTS):
        unique = {"uniqueItems": True} if origin in _SETS else {}
        return {"type": "array", **({"items": described(of[0], inside)} if of else {}), **unique}
    if origin in _DICTS:
        return {"type": "object", **({"additionalProperties": described(of[1], inside)} if of else {})}
    return _plain(hint)


def built(hint: Any, value: Any) -> Any:
    """A value of JSON, which fits what ``described`` says, as the hint has it: an enum's member, a dataclass, a tuple.

    Raises whatever making it raises.
    """
    hint, origin, of = _parts(hint)
    if origin in (Union, types.UnionType):
        return _chosen(of, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if hint in _TEXTS:
        return _TEXTS[hint][1](value)
    if hint is decimal.Decimal:
        return decimal.Decimal(str(value))
    if _is_model(hint):
        return hint.model_validate(value)
    if (fields := _fields(hint)) is not None:
        made = {name: built(fields.get(name, Any), each) for name, each in value.items()}
        return made if is_typeddict(hint) else hint(**made)
    if origin is tuple:
        return _tuple(of, value)
    if origin in _SETS:
        made_set = {built(of[0] if of else Any, each) for each in value}
        return frozenset(made_set) if origin is frozenset else made_set
    if origin in _LISTS and of and isinstance(value, list):
        return [built(of[0], each) for each in value]
    if origin in _DICTS and of:
        return {_key(of[0], name): built(of[1], each) for name, each in value.items()}
    return value


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The type hints of a function's parameters; none where they cannot be read."""
    while isinstance(function, functools.partial):
        function = function.func
    is_object = not inspect.isroutine(function) and not hasattr(function, "__wrapped__")
    try:
        hints = get_type_hints(function.__call__ if is_object else function)  # type: ignore[operator]
    except Exception:  # a hint that names what is not there raises whatever its text raises
        return {}
    return {name: hint for name, hint in hints.items() if name != "return"}


def is_built(hint: Any) -> bool:
    """Says whether values of JSON have to become something else."""
    hint, origin, of = _parts(hint)
    if origin is tuple or origin in _SETS or hint in _TEXTS or hint is decimal.Decimal or _fields(hint) is not None:
        return True
    if isinstance(hint, type) and issubclass(hint, Enum):
        return True
    if origin in _DICTS and of and of[0] not in (str, Any):
        return True
    return origin is not Literal and any(is_built(each) for each in of if each is not ...)


def _parts(hint: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """The hint without notes and names, what it is a kind of, and of what."""
    while get_origin(hint) is Annotated or hasattr(hint, "__supertype__"):
        hint = hint.__supertype__ if hasattr(hint, "__supertype__") else get_args(hint)[0]
    origin = get_origin(hint)
    return hint, (hint if origin is None else origin), get_args(hint)


def _union(of: tuple[Any, ...], inside: tuple[Any, ...]) -> dict[str, Any]:
    choices = [described(each, inside) for each in of if each is not type(None)]
    found = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return {**found, "nullable": True} if type(None) in of else found


def _plain(hint: Any) -> dict[str, Any]:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if hint in _TEXTS:
        return {"type": "string", "format": _TEXTS[hint][0]}
    if hint is decimal.Decimal:
        return {"type": ["number", "string"]}
    if hint not in _SIMPLE:
        raise TypeError(f"of {_shown(hint)} a model can say no value")
    return dict(_SIMPLE[hint])


def _fields(hint: Any) -> dict[str, Any] | None:
    """Names and hints of what an object of this kind consists of; None where it is none."""
    if _is_model(hint):
        return {each.alias or name: each.annotation for name, each in hint.model_fields.items()}
    if not isinstance(hint, type):
        return None
    is_named = issubclass(hint, tuple) and hasattr(hint, "_fields")
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return {each.name: hints[each.name] for each in dataclasses.fields(hint) if each.init}
    return get_type_hints(hint) if is_named or is_typeddict(hint) else None


def _is_model(hint: Any) -> bool:
    """Says whether it is a class of pydantic's, which checks and makes its values itself."""
    return isinstance(hint, type) and hasattr(hint, "model_fields") and hasattr(hint, "model_validate")


def _told(hint: Any) -> dict[str, dict[str, str]]:
    """What a class of pydantic's says of its fields."""
    fields = hint.model_fields.items() if _is_model(hint) else ()
    return {each.alias or name: {"description": each.description} for name, each in fields if each.description}


def _required(hint: Any) -> list[str]:
    if _is_model(hint):
        return [each.alias or name for name, each in hint.model_fields.items() if each.is_required()]
    if is_typeddict(hint):
        return sorted(hint.__required_keys__)
    parameters = inspect.signature(hint).parameters
    return [name for name, each in parameters.items() if each.default is each.empty]


def _chosen(of: tuple[Any, ...], value: Any) -> Any:
    """As the first of a union's kinds that it fits."""
    if value is None and type(None) in of:
        return None
    kinds = [each for each in of if each is not type(None)]
    return built(next((each for each in kinds if fits(value, described(each))), Any), value)


def _tuple(of: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not of or of[-1] is ...:
        return tuple(built(of[0] if of else Any, each) for each in value)
    if len(value) != len(of):
        raise ValueError(f"{len(value)} values; expected {len(of)}")
    return tuple(built(kind, each) for kind, each in zip(of, value, strict=True))


def _key(hint: Any, name: str) -> Any:
    """A key of an object, which JSON has as text alone."""
    return _parts(hint)[0](name) if _parts(hint)[0] in (int, float) else built(hint, name)


def _shown(hint: Any) -> str:
    return getattr(hint, "__qualname__", None) or str(hint)
