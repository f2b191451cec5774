"""Tools whose parameters are more than JSON has words for: what a model is told, and what the tool is given."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict

import pytest

from groupwise.environments import Call, Reply
from groupwise.environments.schemas import schema_of
from groupwise.environments.tools import Tools
from groupwise.errors import UserError


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Count(enum.IntEnum):
    ONE = 1
    TWO = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


class Pair(NamedTuple):
    left: int
    right: Color = Color.RED


class Options(TypedDict):
    size: int
    color: NotRequired[Color]


@dataclasses.dataclass
class Tree:
    left: Tree | None = None


Identity = NewType("Identity", int)
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}


def tool_of_one(hint: Any) -> Callable[..., Any]:
    def show(value: Any) -> str:
        """Shows a value.

        Args:
            value: The value.
        """
        return repr(value)

    show.__annotations__ = {"value": hint, "return": str}
    return show


def answer(tool: Any, name: str, arguments: Mapping[str, Any]) -> str:
    """What one call is answered."""
    episode = Tools([tool])({}, None)  # type: ignore[arg-type]
    next(episode)  # type: ignore[call-overload]
    [said] = episode.send(Reply("", [Call(name, arguments)]))  # type: ignore[union-attr]
    return str(said.text)


TOLD: dict[str, tuple[Any, dict[str, Any]]] = {
    "dataclass": (Point, POINT),
    "list of dataclasses": (list[Point], {"type": "array", "items": POINT}),
    "perhaps a dataclass": (Optional[Point], {**POINT, "nullable": True}),  # noqa: UP045 - as people write it
    "sequence": (Sequence[int], {"type": "array", "items": {"type": "integer"}}),
    "tuple of any length": (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
    "set": (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
    "mapping": (Mapping[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
    "date": (datetime.date, {"type": "string", "format": "date"}),
    "new type": (Identity, {"type": "integer"}),
    "annotated date": (Annotated[datetime.date, "a day"], {"type": "string", "format": "date"}),
    "choice or dataclass": (
        Literal["here"] | Point,
        {"anyOf": [{"enum": ["here"]}, POINT]},
    ),
}


@pytest.mark.parametrize("kind", TOLD)
def test_what_a_model_is_told(kind: str) -> None:
    hint, told = TOLD[kind]
    [found] = schema_of(tool_of_one(hint))["function"]["parameters"]["properties"].values()
    assert found == {**told, "description": "The value."}


GIVEN: list[tuple[Any, Any, Any]] = [
    (Color, "red", Color.RED),
    (Count, 2, Count.TWO),
    (Color | None, None, None),
    (Color | None, "blue", Color.BLUE),
    (Point, {"x": 1.0}, Point(1)),
    (list[Point], [{"x": 1}, {"x": 2, "y": 3}], [Point(1), Point(2, 3)]),
    (dict[str, Point], {"a": {"x": 1}}, {"a": Point(1)}),
    (dict[int, Color], {"3": "red"}, {3: Color.RED}),
    (Pair, {"left": 1}, Pair(1)),
    (Options, {"size": 1, "color": "blue"}, {"size": 1, "color": Color.BLUE}),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
    (set[int], [2, 2], {2}),
    (frozenset[int], [2], frozenset({2})),
    (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
    (Decimal, 1.1, Decimal("1.1")),
    (Path, "/a", Path("/a")),
    (int | Point, {"x": 4}, Point(4)),
    (list[list[int]], [[1], [2.0]], [[1], [2]]),
    (Literal[1, "z", None], None, None),
    (Any, {"k": [1]}, {"k": [1]}),
]


@pytest.mark.parametrize(("hint", "value", "found"), GIVEN)
def test_what_a_tool_is_given(hint: Any, value: Any, found: Any) -> None:
    assert answer(tool_of_one(hint), "show", {"value": value}) == repr(found)


@pytest.mark.parametrize(
    ("hint", "value", "said"),
    [
        (Color, "green", "the argument value is 'green'; expected one of red, blue"),
        (Count, True, "is 'True' (boolean); expected a whole number"),
        (Point, {"y": 1}, "the argument value has no x"),
        (Point, {"x": 1, "z": 2}, "the argument value has z; there is x, y"),
        (list[Point], [{"x": "q"}], "the argument value[0].x is 'q' (string); expected a whole number"),
        (tuple[int, str], [1], "ValueError: 1 values; expected 2"),
        (tuple[int, str], ["a", 1], "the argument value[0] is 'a' (string); expected a whole number"),
        (tuple[int, Point], [1], "the argument value has 1 items; expected 2"),
        (datetime.date, "2024-02-30", "ValueError: day is out of range for month"),
        (dict[int, str], {"x": "a"}, "ValueError: invalid literal for int()"),
    ],
)
def test_what_a_model_is_answered(hint: Any, value: Any, said: str) -> None:
    found = answer(tool_of_one(hint), "show", {"value": value})
    assert found.startswith("error: show")
    assert said in found


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (bytes, "parameter value: of bytes a model can say no value; expected a type that JSON can say"),
        (Callable[..., Any], "a model can say no value"),
        (Tree, "parameter value: Tree contains itself"),
        (dict[str, Tree], "Tree contains itself"),
    ],
)
def test_what_no_model_can_say(hint: Any, said: str) -> None:
    with pytest.raises(UserError, match=rf"tool show: the {said}" if said.startswith("parameter") else said):
        schema_of(tool_of_one(hint))


def undescribed(value: Lost, other: int) -> str:  # type: ignore[name-defined]  # noqa: F821
    """Has a hint that names nothing.

    Args:
        value: A value.
        other: Another one.
    """
    return f"{value}{other}"


class Box:
    def lift(self, height: int) -> str:
        """Lifts it.

        Args:
            height: How far.
        """
        return f"{height} up"


def test_what_no_call_could_give() -> None:
    with pytest.raises(UserError, match=r"tool undescribed: the hints of its parameters cannot be read, that of value"):
        schema_of(undescribed)
    with pytest.raises(UserError, match=r"tool lift: it is a method without its object, self; .*box\.lift with box"):
        schema_of(Box.lift)
    assert schema_of(Box().lift)["function"]["parameters"]["required"] == ["height"]


class Index:
    def __call__(self, query: str) -> str:
        """Looks something up.

        Args:
            query: What.
        """
        return f"found {query}"


def search(query: str, index: Index, most: int = 3) -> str:
    """Searches.

    Args:
        query: What.
        most: How many.
    """
    return f"{index(query)} {most}"


def test_what_a_partial_has_bound_is_no_parameter() -> None:
    tool = functools.partial(search, index=Index(), most=2)
    assert list(schema_of(tool)["function"]["parameters"]["properties"]) == ["query"]
    assert answer(tool, "search", {"query": "x"}) == "found x 2"
    assert "there is no argument index" in answer(tool, "search", {"query": "x", "index": 1})


def test_an_object_that_is_called_is_a_tool() -> None:
    assert schema_of(Index())["function"]["name"] == "Index"
    assert answer(Index(), "Index", {"query": "x"}) == "found x"


def test_classes_of_pydantic_s_check_their_values_themselves() -> None:
    pydantic = pytest.importorskip("pydantic")
    home = pydantic.create_model("Home", street=(str, ...), number=(int, 1))
    described = pydantic.Field(description="Of whom.", min_length=2)
    person = pydantic.create_model("Person", name=(str, described), home=(home, ...))

    def greet(person: Any) -> str:
        """Greets.

        Args:
            person: Who.
        """
        return f"{type(person).__name__} {person.name} of {type(person.home).__name__} {person.home.number}"

    greet.__annotations__["person"] = person
    shown = schema_of(greet)["function"]["parameters"]["properties"]["person"]
    assert shown["properties"]["name"] == {"type": "string", "description": "Of whom."}
    assert (shown["required"], shown["properties"]["home"]["required"]) == (["name", "home"], ["street"])
    for given, said in (
        ({"name": "Ann", "home": {"street": "x"}}, "Person Ann of Home 1"),
        ({"name": "Ann", "home": {"street": 3}}, "error: greet: the argument person.home.street is '3' (integer)"),
        ({"name": "A", "home": {"street": "x"}}, "error: greet failed: ValidationError: 1 validation error for Person"),
    ):
        assert answer(greet, "greet", {"person": given}).startswith(said)
