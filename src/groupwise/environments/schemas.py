"""This module makes JSON schemas of what a tool takes, out of Python functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from groupwise.environments.hints import described, hints_of
from groupwise.errors import UserError

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
EXPECTED = (
    "expected a type hint for every parameter and a docstring that begins with what the tool does and has a section "
    "Args: with a line for every parameter"
)


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The schema of a plain function with typed parameters and a Google docstring that describes each.

    What a partial has bound is no parameter. Raises UserError, with the function's name and what is missing.
    """
    name, parameters = name_of(function), _parameters(function)
    open_ended = next((each.name for each in parameters if each.kind in _VARIADIC), None)
    if open_ended:
        raise UserError(f"tool {name}: the parameter {open_ended} stands for any number; expected each by its name")
    unnamed = next((each.name for each in parameters if each.kind is each.POSITIONAL_ONLY), None)
    if unnamed:
        raise UserError(f"tool {name}: the parameter {unnamed} has no name for a caller; take the / away")
    from transformers.utils import get_json_schema

    hints = hints_of(function)
    typed = {each.name: hints[each.name] for each in parameters if each.name in hints}
    _refuse_unreadable(name, parameters, typed)
    try:
        return dict(get_json_schema(_stand_in(function, parameters, typed)))
    except Exception:  # a hint's that has no word there, or a docstring's: then the next one says so
        pass
    try:
        found = dict(get_json_schema(_stand_in(function, parameters, dict.fromkeys(typed, Any))))
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"tool {name}: {reason}; {EXPECTED}") from error
    properties = found["function"]["parameters"]["properties"]
    for parameter, hint in typed.items():
        properties[parameter] = {**_described(name, parameter, hint), **properties[parameter]}
    return found


def name_of(function: Any) -> str:
    """Returns a function's own name."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__)).strip("<>")


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those that a caller gives. Raises UserError."""
    bound: set[str] = set()
    inner = function
    while isinstance(inner, functools.partial):
        bound |= set(inner.keywords)
        inner = inner.func
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise UserError(f"tool {name_of(function)}: it shows no parameters; expected a plain function") from error
    return [each for each in found if each.name not in bound]


def _refuse_unreadable(name: str, parameters: Sequence[inspect.Parameter], typed: Mapping[str, Any]) -> None:
    """Raises UserError for a parameter that no call could give: the object of a method, a hint that names nothing."""
    for each in parameters:
        if each.name in typed:
            continue
        if each is parameters[0] and each.name in ("self", "cls") and each.annotation is each.empty:
            raise UserError(
                f"tool {name}: it is a method without its object, {each.name}; expected that of an instance, such as "
                f"box.{name} with box = Box()"
            )
        if isinstance(each.annotation, str):
            raise UserError(
                f"tool {name}: the hints of its parameters cannot be read, that of {each.name} is {each.annotation!r}; "
                "expected names that are known where the function is written"
            )


def _described(name: str, parameter: str, hint: Any) -> dict[str, Any]:
    try:
        return described(hint)
    except Exception as error:  # the hint's own, or what evaluating its fields raises
        raise UserError(
            f"tool {name}: the parameter {parameter}: {error}; expected a type that JSON can say: numbers, text, "
            "lists, mappings, choices, dataclasses of these"
        ) from error


def _stand_in(
    function: Callable[..., Any], parameters: list[inspect.Parameter], hints: Mapping[str, Any]
) -> Callable[..., Any]:
    """A function with the words and parameters of another and such hints, for who reads those."""

    def stand_in() -> None:
        raise NotImplementedError

    stand_in.__doc__, stand_in.__name__ = _words(function), name_of(function)
    stand_in.__annotations__ = dict(hints)
    kept = [each.replace(annotation=hints.get(each.name, each.annotation)) for each in parameters]
    stand_in.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    return stand_in


def _words(function: Any) -> str | None:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or isinstance(function, functools._lru_cache_wrapper):
        return inspect.getdoc(function)
    return inspect.getdoc(function.__call__) or inspect.getdoc(function)
