"""This module makes actions of Gymnasium's spaces out of a model's words, without Gymnasium itself.

Of a discrete space the last number is the action (``I go down (1)``), of a text space the text. Numbers side by side
are those of an array, in its order: ``push 0.5, then -1`` is of ``Box(-1.0, 1.0, (2,))``. Tuples and dictionaries of
spaces are said in JSON: ``{"move": 1, "force": [0.5, -1]}``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from groupwise.environments.arguments import short

_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|(?<![\w.)])\.\d+)(?:[eE][-+]?\d+)?")
_MINUS = "\u2212"  # as it is set in print
MOST_LETTERS = 10_000  # of an answer, its last ones, in which numbers are looked for


def has_words(space: Any) -> bool:
    """Says whether words can be an action of the space."""
    if _is_composed(space):
        inner = space.spaces.values() if isinstance(space.spaces, Mapping) else space.spaces
        return all(has_words(each) for each in inner)
    return _is_discrete(space) or _is_text(space) or _is_array(space)


def action_of(space: Any, text: str) -> Any:
    """The action that a text means. Raises ValueError, in words for the model, where it means none."""
    if _is_text(space):
        return _fitted(space, text)
    if _is_composed(space):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{short(text)!r}; expected JSON for {space}") from error
        return _fitted(space, value)
    numbers = [float(each) for each in _NUMBER.findall(text[-MOST_LETTERS:].replace(_MINUS, "-"))]
    if _is_discrete(space):
        if not numbers:
            raise ValueError(f"{short(text)!r} has no number; expected one {_range(space)}")
        return _fitted(space, numbers[-1])
    count = math.prod(space.shape)
    if len(numbers) != count:
        raise ValueError(f"{short(text)!r} has {len(numbers)} numbers; expected {count}, of {space}")
    return _fitted(space, numbers)


def _fitted(space: Any, value: Any) -> Any:
    """A value of JSON as an action. Raises ValueError."""
    if _is_discrete(space):
        return _chosen(space, value)
    if _is_composed(space):
        return _composed(space, value)
    action = value if _is_text(space) else _array(space, value)
    if not space.contains(action):
        raise ValueError(f"{short(value)!r} is not of {space}")
    return action


def _chosen(space: Any, value: Any) -> int:
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not int(space.start) <= value < int(space.start) + int(space.n):
        raise ValueError(f"{short(value)}; expected a number {_range(space)}")
    return int(value)


def _range(space: Any) -> str:
    return f"from {int(space.start)} to {int(space.start) + int(space.n) - 1}"


def _composed(space: Any, value: Any) -> Any:
    inner = space.spaces
    if isinstance(inner, Mapping):
        if not isinstance(value, Mapping) or set(value) != set(inner):
            raise ValueError(f"{short(value)!r}; expected an object with {', '.join(map(str, inner))}")
        return {name: _fitted(each, value[name]) for name, each in inner.items()}
    if not isinstance(value, list) or len(value) != len(inner):
        raise ValueError(f"{short(value)!r}; expected a list of {len(inner)}")
    return tuple(_fitted(each, part) for each, part in zip(inner, value, strict=True))


def _array(space: Any, value: Any) -> Any:
    """Numbers as the array that they are in the space, whichever brackets are around them."""
    import numpy

    try:
        given = numpy.asarray(value, dtype=float)
        shaped = given.reshape(space.shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{short(value)!r}; expected numbers of {space}") from error
    with numpy.errstate(invalid="ignore", over="ignore"):  # looked at next
        found = shaped.astype(space.dtype)
    if not numpy.array_equal(found.astype(float), shaped) and found.dtype.kind != "f":
        raise ValueError(f"{short(value)!r} is not of {space}")  # a fraction, or beyond what its integers hold
    return found


def _is_discrete(space: Any) -> bool:
    return hasattr(space, "n") and hasattr(space, "start")


def _is_text(space: Any) -> bool:
    return hasattr(space, "charset") or hasattr(space, "character_set")


def _is_composed(space: Any) -> bool:
    """Says whether it is a tuple or a dictionary of spaces; one of several of which one is chosen is neither."""
    inner = getattr(space, "spaces", None)
    return isinstance(inner, Mapping) or (isinstance(inner, tuple) and type(space).__name__ != "OneOf")


def _is_array(space: Any) -> bool:
    """Says whether it is a Box, a MultiDiscrete or a MultiBinary."""
    kinds = hasattr(space, "nvec") or hasattr(space, "n") or (hasattr(space, "low") and hasattr(space, "high"))
    return kinds and isinstance(getattr(space, "shape", None), tuple) and getattr(space, "dtype", None) is not None
