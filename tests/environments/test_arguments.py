"""A model's arguments against a schema: what fits, and what a message says of what does not."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from groupwise.environments.arguments import checked
from groupwise.environments.schemas import schema_of


def tool(
    a: int, b: float = 1.0, c: list[int] | None = None, d: Literal["x", "y"] = "x", e: dict[str, int] | None = None
) -> str:
    """Does something.

    Args:
        a: One.
        b: Two.
        c: Three.
        d: Four.
        e: Five.
    """
    return ""


def offered(**parameter: Any) -> dict[str, Any]:
    return {"name": "f", "parameters": {"type": "object", "properties": {"v": parameter}, "required": ["v"]}}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a": 2.0, "b": 1}, {"a": 2, "b": 1}),
        ({"a": 1, "c": [1, 2.0]}, {"a": 1, "c": [1, 2]}),
        ({"a": 1, "c": None, "e": {"k": 1}}, {"a": 1, "c": None, "e": {"k": 1}}),
        ({"a": 1, "d": "y"}, {"a": 1, "d": "y"}),
    ],
)
def test_what_fits(arguments: dict[str, Any], found: dict[str, Any]) -> None:
    assert checked(schema_of(tool), arguments) == (found, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "the argument a is missing"),
        ({"a": True}, "the argument a is 'True' (boolean); expected a whole number"),
        ({"a": 1.5}, "the argument a is '1.5' (number); expected a whole number"),
        ({"a": None}, "the argument a is 'None' (null); expected a whole number"),
        ({"a": 1, "b": "1"}, "the argument b is '1' (string); expected a number"),
        ({"a": 1, "c": [1, "2"]}, "the argument c[1] is '2' (string); expected a whole number"),
        ({"a": 1, "c": "1"}, "the argument c is '1' (string); expected a list"),
        ({"a": 1, "d": "z"}, "the argument d is 'z'; expected one of x, y"),
        ({"a": 1, "e": {"k": "v"}}, "the argument e.k is 'v' (string); expected a whole number"),
        ({"a": 1, "aa": 1}, "there is no argument aa, perhaps a; there is a, b, c, d, e"),
    ],
)
def test_what_does_not_fit(arguments: dict[str, Any], said: str) -> None:
    assert checked(schema_of(tool), arguments) == ({}, said)


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, True),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x", False),
        ({"type": ["string", "null"]}, None, True),
        ({"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"]}, {}, False),
        ({"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"]}, {"k": 1}, True),
        ({"const": 3}, 4, False),
        ({"$ref": "#/x"}, object(), True),
        ({}, [1], True),
    ],
)
def test_schemas_that_others_wrote(schema: dict[str, Any], value: Any, fits: bool) -> None:
    assert (checked(offered(**schema), {"v": value})[1] == "") is fits
