"""Episodes in processes that can be killed: who hangs or dies costs itself, and the others are played again."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import random as process_random
import signal
import struct
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy
import pytest
import torch

from groupwise.environments import Ended, Reply, Says, Turns
from groupwise.environments.hosts import GRACE_SECONDS, Worlds
from groupwise.environments.plain import Plain
from groupwise.errors import UserError

Row = Mapping[str, Any]
PATIENCE = 120.0


def echo(row: Row, random: Random) -> Generator[Any, Reply, Any]:
    """Says what the row says, then what it heard, three times; returns a number that depends on its seed."""
    said = yield row.get("first", "hello")
    for turn in range(3):
        if row.get("act") is not None and turn == row.get("at", 1):
            row["act"]()
        said = yield f"{turn}: {said}"
    return random.random()


async def later(row: Row, random: Random) -> AsyncGenerator[Any, Reply]:
    said = yield "hello"
    for turn in range(3):
        await asyncio.sleep(0.02 * random.random())
        if row.get("act") is not None and turn == 1:
            row["act"]()
        said = yield f"{turn}: {said}"
    yield Ended({"score": 1.0, "success": False, "waited": 2})


def hang() -> None:
    time.sleep(3600)


def leave() -> None:
    os._exit(3)


def leave_politely() -> None:
    raise SystemExit(1)


def go_wrong() -> None:
    raise ValueError("the bell rang")


@pytest.fixture
def opened() -> Iterator[Callable[..., Worlds]]:
    made: list[Worlds] = []

    def make(environment: Any, **options: Any) -> Worlds:
        made.append(Worlds(environment, Turns(**{"processes": 1} | options)))
        return made[-1]

    yield make
    for worlds in made:
        worlds.close()


def played(worlds: Worlds, rows: Sequence[Row], words: Sequence[str] = ("a", "b", "c")) -> list[list[Plain]]:
    """All that each episode answered, all of them side by side."""
    numbers = [worlds.begin(row, 7 + place) for place, row in enumerate(rows)]
    answers: dict[int, list[Plain]] = {number: [] for number in numbers}
    left, until = set(numbers), time.monotonic() + PATIENCE
    while left and time.monotonic() < until:
        for number, plain, _ in worlds.hear(1.0):
            if number not in answers:  # another's
                continue
            answers[number].append(plain)
            if "says" in plain and len(answers[number]) <= len(words):
                worlds.say(number, Reply(words[len(answers[number]) - 1]))
            else:
                left.discard(number)
    assert not left
    return [answers[number] for number in numbers]


def said(plain: Plain) -> str:
    return str(plain["says"][0]["content"])


def test_an_episode_says_hears_and_returns(opened: Callable[..., Worlds]) -> None:
    [answers] = played(opened(echo), [{}])
    assert [said(each) for each in answers] == ["hello", "0: a", "1: b", "2: c"]


def test_episodes_are_the_same_in_any_number_of_processes(opened: Callable[..., Worlds]) -> None:
    rows = [{"first": str(place)} for place in range(12)]
    alone = played(opened(echo), rows, "abcd")
    assert played(opened(echo, processes=3), rows, "abcd") == alone
    assert len({answers[-1]["ends"]["value"] for answers in alone}) == 12


@pytest.mark.parametrize("environment", [echo, later])
@pytest.mark.parametrize(
    ("act", "how", "words"),
    [
        (hang, "timeout", "no reply within 0.3 s, it stood in hang at"),
        (leave, "failed", "its process ended"),
        (leave_politely, "failed", "raised SystemExit: 1 at"),
        (go_wrong, "failed", "raised ValueError: the bell rang at"),
    ],
)
def test_one_that_goes_wrong_costs_itself_alone(
    opened: Callable[..., Worlds], environment: Any, act: Callable[[], None], how: str, words: str
) -> None:
    rows: list[Row] = [{} for _ in range(6)]
    expected = played(opened(environment), rows, "abcd")
    found = played(opened(environment, reply_seconds=0.3), [*rows[:3], {"act": act}, *rows[3:5]], "abcd")
    assert how in found[3][-1]
    assert found[3][-1][how].startswith(words)
    for place in (0, 1, 2, 4, 5):
        assert found[place] == expected[place]


def waits(row: Row, random: Random) -> Generator[Any, Reply, Any]:
    """Its replies take as long as they like, and it says in which process it lives."""
    said = yield "hello"
    for turn in range(3):
        with open(row["file"], "w") as file:
            file.write(str(os.getpid()))
        time.sleep(0.01 * (time.time_ns() % 97) / 97)
        said = yield f"{turn}: {said} {random.random()}"
    return random.random()


def test_processes_that_somebody_else_kills_change_nothing(opened: Callable[..., Worlds], tmp_path: Path) -> None:
    """At random instants, while replies take a while."""
    rows = [{"file": str(tmp_path / f"process-{place}")} for place in range(8)]
    expected = played(opened(waits), rows, "abcd")
    over, killed = threading.Event(), []

    def kill() -> None:
        while not over.wait(0.02) and len(killed) < 2:  # one of each process
            with suppress(OSError, ValueError):
                killed.append(int(Path(rows[len(killed)]["file"]).read_text()))
                os.kill(killed[-1], signal.SIGKILL)

    for each in rows:
        Path(each["file"]).unlink()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert played(opened(waits, processes=2), rows, "abcd") == expected
    finally:
        over.set()
        killer.join()
    assert killed


def test_one_that_says_something_else_when_it_is_played_again_is_named(opened: Callable[..., Worlds]) -> None:
    def moody(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        if row.get("act"):
            yield "hello"
            leave()
        yield f"process {os.getpid()}"
        yield "over"
        return 1.0

    steady, other = played(opened(moody), [{}, {"act": True}], "ab")
    assert other[-1] == {"failed": "its process ended"}
    assert steady[-1]["failed"].startswith("not deterministic: played again, turn 0 said")


def test_random_numbers_of_the_process_are_an_episodes_own(opened: Callable[..., Worlds]) -> None:
    def rolls(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        for _ in range(3):
            yield str(process_random.random())
        return 0.0

    def normal(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        for _ in range(3):
            yield str(numpy.random.randn(3).tolist())
        return 0.0

    for environment in (rolls, normal):
        worlds = opened(environment)
        alone = played(worlds, [{}], "ab")
        beside = played(worlds, [{}, {}, {}], "ab")
        assert beside[0] == alone[0]
        assert len({str(each) for each in beside}) == 3


def test_nothing_stays_of_an_episode_that_is_over(opened: Callable[..., Worlds]) -> None:
    def counts(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        living = [each for each in gc.get_objects() if inspect.isgenerator(each) and each.gi_code is row_code]
        yield str(len(living))
        return 0.0

    row_code = counts.__code__
    worlds = opened(counts)
    for _ in range(3):
        assert {said(answers[0]) for answers in played(worlds, [{}], "a")} == {"1"}


def test_one_that_is_told_something_after_its_end_harms_nobody(opened: Callable[..., Worlds]) -> None:
    """The model's turn may be on its way while the environment ends."""

    def brief(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        time.sleep(0.05)
        for _ in range(row["turns"]):
            yield "hello"
        return 1.0

    worlds = opened(brief)
    number = worlds.begin({"turns": 0}, 1)
    worlds.say(number, Reply("too late"))
    [steady] = played(worlds, [{"turns": 2}], "ab")
    assert [said(each) for each in steady[:2]] == ["hello", "hello"]
    assert steady[2]["ends"] == {"value": 1.0}


WRONG: dict[str, tuple[Any, str]] = {
    "bytes": (b"hello", "said b'hello' (bytes); expected text, Says, several Says or None"),
    "a number": (3, "said 3 (int); expected text, Says, several Says or None"),
    "a number among messages": ([Says("a"), 3], "said 3 (int); expected text or Says(text)"),
    "the model's own words": (Says("a", role="assistant"), "said something as the assistant"),
    "a reward that is none": (Says("a", reward=float("nan")), "gave the reward nan; expected a finite number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_may_not_be_said_is_named(opened: Callable[..., Worlds], name: str) -> None:
    wrong, words = WRONG[name]

    def says(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        yield wrong

    [[answer]] = played(opened(says), [{}])
    assert answer["failed"].startswith(words)


RETURNED: dict[str, tuple[Any, Plain]] = {
    "a number": (2, {"ends": {"value": 2.0}}),
    "nothing": (None, {"ends": {"value": None}}),
    "a verdict": (True, {"ends": {"value": 1.0}}),
    "a mapping": (
        {"reward": 0.5, "success": True, "moves": 3, "why": "so"},
        {"ends": {"value": 0.5, "success": True, "logged": {"moves": 3.0}, "extras": {"why": "so"}}},
    ),
    "no reward of its own": ({"moves": 3}, {"ends": {"value": None, "logged": {"moves": 3.0}, "extras": {}}}),
    "two of them": (
        {"reward": 1, "score": 1},
        {"failed": "returned a mapping with score and reward; expected one of them"},
    ),
    "text": (
        "won",
        {"failed": "returned 'won' (str); expected a number, None, or a mapping with score or reward"},
    ),
    "a tensor": (torch.tensor(0.5), {"ends": {"value": 0.5}}),
    "tensors": (
        {"reward": torch.tensor(1), "success": torch.tensor(True), "steps": torch.tensor([2])},
        {"ends": {"value": 1.0, "logged": {"steps": 2.0}, "extras": {}, "success": True}},
    ),
    "infinity": (
        float("inf"),
        {"failed": "returned inf (float); expected a number, None, or a mapping with score or reward"},
    ),
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_is_returned(opened: Callable[..., Worlds], name: str) -> None:
    returned, expected = RETURNED[name]

    def ends(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        yield "hello"
        return returned

    [answers] = played(opened(ends), [{}], "a")
    assert answers[-1] == expected


def test_what_is_no_generator_is_named(opened: Callable[..., Worlds]) -> None:
    [[answer]] = played(opened(lambda row, random: 3.0), [{}])
    assert answer["failed"].startswith("is no generator: it gave 3.0 (float); expected a function that yields")


def test_a_long_message_is_cut_in_its_middle(opened: Callable[..., Worlds]) -> None:
    def shouts(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        yield "a" + "x" * 10_000_000 + "z"

    [[answer]] = played(opened(shouts), [{}], "")
    text = said(answer)
    assert len(text) < 201_000
    assert (text[0], text[-1]) == ("a", "z")
    assert "9,800,002 characters left out" in text


def test_an_episode_has_so_many_seconds_in_all(opened: Callable[..., Worlds]) -> None:
    def slow(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        while True:
            time.sleep(0.1)
            yield "and"

    [answers] = played(opened(slow, episode_seconds=0.25), [{}], "abcdefghijkl")
    assert "s in all, more than 0.25" in answers[-1]["timeout"]


def test_orders_that_wait_to_be_sent_cost_nobody_time(opened: Callable[..., Worlds]) -> None:
    worlds = opened(echo)
    number = worlds.begin({}, 1)
    for _ in range(2):
        worlds.hosts[0].since -= 3600.0  # whoever plays does something else for an hour
        answers = worlds.hear(PATIENCE)
        assert [said(plain) for who, plain, _ in answers if who == number] in (["hello"], ["0: a"])
        worlds.say(number, Reply("a"))


def test_the_time_of_the_one_that_runs_counts(opened: Callable[..., Worlds]) -> None:
    """The answer of another, whose time is nearly over, may wait for its."""
    worlds = opened(echo, reply_seconds=30.0, episode_seconds=40.0)
    host, numbers = worlds.hosts[0], [worlds.begin({}, 1), worlds.begin({}, 2)]
    host.episodes[numbers[0]].seconds = 39.0
    host.start()
    assert host.deadline - host.since == pytest.approx(1.0 + GRACE_SECONDS)
    struct.pack_into("q", host.mark, 0, numbers[1])
    assert host.deadline - host.since == pytest.approx(30.0 + GRACE_SECONDS)


def test_what_hangs_while_it_is_closed_harms_nobody(opened: Callable[..., Worlds]) -> None:
    def clings(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        try:
            yield "hello"
        finally:
            if row.get("clings"):
                hang()

    worlds = opened(clings, reply_seconds=0.2)
    first = worlds.begin({"clings": True}, 1)
    assert worlds.hear(PATIENCE)[0][0] == first
    worlds.close_episode(first)
    [[answer]] = played(worlds, [{}], "")
    assert said(answer) == "hello"


def test_a_row_that_cannot_be_sent_is_refused(opened: Callable[..., Worlds]) -> None:
    with pytest.raises(UserError, match=r"cannot be sent to another process .*give plain values"):
        opened(echo).begin({"made": (each for each in ())}, 1)
