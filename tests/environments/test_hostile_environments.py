"""What an environment may do to its process, to those who live beside it, and to who reads what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from functools import partial
from random import Random
from typing import Any

import numpy
import pytest

from groupwise.environments import Ended, Reply, Says, Turns, as_environment
from groupwise.environments.hosts import Worlds
from groupwise.environments.plain import Plain

Row = Mapping[str, Any]
PATIENCE = 120.0


class ItemError:
    def item(self) -> float:
        raise RuntimeError("no item")


class Unreadable(dict[str, Any]):
    def __contains__(self, name: object) -> bool:
        raise RuntimeError("not to be read")


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class BottomError(BaseException):
    """No Exception."""


@pytest.fixture
def opened() -> Iterator[Callable[[Any], Worlds]]:
    made: list[Worlds] = []

    def make(environment: Any) -> Worlds:
        made.append(Worlds(environment, Turns(processes=1, reply_seconds=60)))
        return made[-1]

    yield make
    for worlds in made:
        worlds.close()


def played(worlds: Worlds, rows: list[Row]) -> list[list[Plain]]:
    """All that each episode answers to two words, side by side in one process."""
    numbers = [worlds.begin(row, 7) for row in rows]
    answers: dict[int, list[Plain]] = {number: [] for number in numbers}
    until = time.monotonic() + PATIENCE
    while any(not each or "says" in each[-1] for each in answers.values()) and time.monotonic() < until:
        for number, plain, _ in worlds.hear(1.0):
            answers[number].append(plain)
            if "says" in plain:
                worlds.say(number, Reply("word"))
    return [answers[number] for number in numbers]


def ordinary(row: Row, random: Random) -> Generator[Any, Reply, Any]:
    yield "hello"
    yield ACTS[row["acts"]]() if "acts" in row else "good bye"
    return RETURNED[row["returns"]][0]() if "returns" in row else 1.0


async def asynchronous(row: Row, random: Random) -> AsyncGenerator[Any, Reply]:
    yield "hello"
    await asyncio.sleep(0)
    yield ACTS[row["acts"]]() if "acts" in row else "good bye"
    yield Ended(1.0)


RAISED: dict[str, tuple[Callable[[], BaseException], str]] = {
    "no exception": (lambda: BottomError("x"), "raised BottomError: x at"),
    "an interrupt": (KeyboardInterrupt, "raised KeyboardInterrupt:  at"),
    "an end of generators": (GeneratorExit, "raised GeneratorExit:  at"),
    "a cancellation": (asyncio.CancelledError, "raised CancelledError:  at"),
    "an exit": (lambda: SystemExit(3), "raised SystemExit: 3 at"),
    "an end of iterators": (lambda: StopIteration(5), "raised StopIteration: 5 at"),
    "one that cannot be shown": (UnspeakableError, "raised UnspeakableError: it cannot be shown at"),
    "half a character": (lambda: ValueError("\udfff"), "raised ValueError: ? at"),
}


def throw(name: str) -> Any:
    raise RAISED[name][0]()


def odd_words() -> Any:
    return Says("a\ud800b\ufdd0c", role="tool", name="\udfff")


ACTS: dict[str, Callable[[], Any]] = {"says": odd_words} | {name: partial(throw, name) for name in RAISED}


@pytest.mark.parametrize("environment", [ordinary, asynchronous])
@pytest.mark.parametrize("name", RAISED)
def test_whatever_it_raises_it_fails_by_name_and_its_neighbour_goes_on(
    opened: Callable[[Any], Worlds], environment: Any, name: str
) -> None:
    (*_, wrong), (*_, well) = played(opened(environment), [{"acts": name}, {}])
    assert wrong["failed"].startswith(RAISED[name][1])
    assert well["ends"] == {"value": 1.0}


RETURNED: dict[str, tuple[Callable[[], Any], str]] = {
    "a number beyond all floats": (lambda: 10**400, "returned 1000"),
    "what raises where it is read": (ItemError, "raised RuntimeError: no item at"),
    "a mapping that raises": (lambda: Unreadable(score=1), "raised RuntimeError: not to be read at"),
    "a verdict of several": (lambda: {"score": 1, "success": numpy.zeros(3)}, "returned the success array("),
    "a verdict in words": (lambda: {"score": 1, "success": "no"}, "returned the success 'no'; expected true or false"),
    "a verdict of no meaning": (lambda: {"score": 1, "success": 0.5}, "returned the success 0.5; expected true"),
}
NOTED = {"score": 1, "note\ud800": "\udfff", "count\ud800": 2}


@pytest.mark.parametrize("name", RETURNED)
def test_what_cannot_be_read_of_what_it_returns_fails_by_name(opened: Callable[[Any], Worlds], name: str) -> None:
    (*_, wrong), (*_, well) = played(opened(ordinary), [{"returns": name}, {}])
    assert wrong["failed"].startswith(RETURNED[name][1])
    assert well["ends"] == {"value": 1.0}


def test_what_is_no_character_is_replaced_wherever_it_is_said(opened: Callable[[Any], Worlds]) -> None:
    """Half a surrogate pair, which no tokenizer spells, and U+FDD0, which marks places in prompts."""

    def notes(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        yield "hello"
        yield odd_words()
        return NOTED

    [answers] = played(opened(notes), [{}])
    assert answers[1]["says"] == [{"role": "tool", "content": "a?b\ufffdc", "name": "?"}]
    assert answers[2]["ends"] == {"value": 1.0, "logged": {"count?": 2.0}, "extras": {"note?": "?"}}


def test_a_function_that_gives_a_generator_is_an_environment_and_another_one_fails_by_name(
    opened: Callable[[Any], Worlds],
) -> None:
    [answers] = played(opened(as_environment(lambda row, random: ordinary(row, random))), [{}])
    assert answers[-1]["ends"] == {"value": 1.0}
    [[answer]] = played(opened(as_environment(lambda row, random: 1.0)), [{}])
    assert answer["failed"].startswith("is no generator: it gave 1.0 (float); expected a function that yields")
