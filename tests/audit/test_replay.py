"""Recorded words against environments that have changed or not."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from groupwise.audit.replay import RecordedEpisode, ReplayFinding, replayed
from groupwise.environments import Reply, Says, Turns
from groupwise.learners.new_model import byte_tokenizer
from groupwise.tasks.task import Task
from groupwise.tasks.task_renderer import renderer_of
from groupwise.types import Example

END = 1
TOKENIZER = byte_tokenizer()
ROWS = [Example("row:0", "", columns={"n": 0})]
Row = Mapping[str, Any]


def echoes(row: Row, random: Random) -> Generator[Any, Reply, Any]:
    said = yield "hello"
    said = yield Says(f"{said}? {random.random():.3f}", reward=0.25)
    return 1.0 if said == "b" else 0.0


def words(*turns: str, cut: bool = False) -> tuple[tuple[int, ...], ...]:
    ids = [tuple(TOKENIZER.encode(turn, add_special_tokens=False)) for turn in turns]
    return tuple(each + (() if cut and n == len(ids) - 1 else (END,)) for n, each in enumerate(ids))


WAS = RecordedEpisode(
    "row:0",
    7,
    words("a", "b"),
    "finished",
    1.25,
    [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": f"a? {Random(7).random():.3f}"},
        {"role": "assistant", "content": "b"},
    ],
)


def again(environment: Any, *episodes: RecordedEpisode, rows: list[Example] = ROWS) -> ReplayFinding:
    task = Task("talk", rows, environment=environment, turns=Turns(most=4, processes=1))
    assert task.episodes is not None
    return replayed(task.episodes, renderer_of(task, TOKENIZER, "new", (END,)), task.train, episodes)


def other_end(row: Row, random: Random) -> Generator[Any, Reply, Any]:
    yield from echoes(row, random)
    return 0.5


def goes_on(row: Row, random: Random) -> Generator[Any, Reply, Any]:
    yield from echoes(row, random)
    yield "more?"
    return 1.0


def ends_early(row: Row, random: Random) -> Generator[Any, Reply, Any]:
    yield "hello"
    return 1.25


def silent(row: Row, random: Random) -> Generator[Any, Reply, Any]:
    raise ValueError("no more")
    yield ""


def test_the_same_environment_says_the_same() -> None:
    cut = replace(WAS, turns=words("a", "b", cut=True), stop="truncated")
    used_up = replace(WAS, turns=words("a"), stop="truncated", messages=WAS.messages[:3])
    assert again(echoes, WAS, cut, used_up).to_json() == {"same": 3, "differing": {}, "examples": []}


@pytest.mark.parametrize(
    ("environment", "kind", "what"),
    [
        (other_end, "reward", "row:0: reward 0.75; the run saw 1.25"),
        (goes_on, "stop", "row:0: goes on; the run saw finished"),
        (ends_early, "words", "row:0: 2 messages; the run heard 4"),
        (silent, "unbegun", "row:0: does not begin: raised ValueError: no more at"),
    ],
)
def test_another_one_is_named(environment: Any, kind: str, what: str) -> None:
    found = again(environment, WAS)
    assert (found.same, dict(found.differing)) == (0, {kind: 1})
    assert found.examples[0].startswith(what)


def test_a_row_that_is_gone_is_named() -> None:
    found = again(echoes, WAS, replace(WAS, example="row:1"))
    assert (found.same, dict(found.differing)) == (1, {"gone": 1})
    assert found.examples == ["row:1: the task has no row of this id any more"]


def test_what_members_of_a_group_hear_alike_is_told_once() -> None:
    found = again(other_end, WAS, WAS)
    assert (dict(found.differing), len(found.examples)) == ({"reward": 2}, 1)
