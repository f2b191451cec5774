"""The part ``strangers`` of ``make faults`` sees what it says it sees. All of it is tried by ``make faults``."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FAULTS = Path(__file__).parents[2] / "benchmarks" / "faults"
NAMES = ("strangers", "strangers_here", "surroundings", "callers", "caller_worker", "attempts", "forked")


@pytest.fixture(scope="module")
def faults() -> Iterator[dict[str, ModuleType]]:
    sys.path.insert(0, str(FAULTS))
    try:
        yield {name: __import__(name) for name in NAMES}
    finally:
        sys.path.remove(str(FAULTS))


def test_there_are_enough_attempts_of_each_kind(faults: dict[str, ModuleType]) -> None:
    by_caller = faults["strangers"].known()
    here = [f"{kind}: {what}" for kind, tries in faults["strangers_here"].KINDS.items() for what in tries]
    assert len({*by_caller, *here}) == len(by_caller) + len(here) >= 500
    assert {kind: len(tries) >= 50 for kind, tries in faults["strangers_here"].KINDS.items()} == dict.fromkeys(
        ("models", "data", "names", "directories"), True
    )


def test_programs_of_attempts_are_programs(faults: dict[str, ModuleType]) -> None:
    programs = sys.modules["attempts.programs"]
    for kind, tries in programs.KINDS.items():
        for what, bodies in tries.items():
            for body in (bodies,) if isinstance(bodies, str) else bodies:
                compile(programs.source(body, {"token": "/x"}), f"{kind}: {what}", "exec")


@pytest.fixture
def around(faults: dict[str, ModuleType], tmp_path: Path) -> Iterator[Any]:
    made = faults["surroundings"].Surroundings(tmp_path)
    yield made
    made.close()


def test_what_reaches_a_listener_is_seen(around: Any) -> None:
    assert around.harmed() == ("", "")
    with socket.create_connection(("127.0.0.1", around.facts()["port"])):
        while not around.heard:
            os.sched_yield()
    assert around.harmed()[0] == "ESCAPED"
    assert around.harmed() == ("", "")


def test_what_harms_a_file_or_a_process_is_seen_and_mended(around: Any) -> None:
    precious = Path(around.facts()["precious"])
    for harm in (lambda: precious.write_text("x"), precious.unlink, lambda: precious.chmod(0o777)):
        harm()
        assert around.harmed() == ("TOUCHED", "Documents/thesis.tex")
        assert around.harmed() == ("", "")
    os.kill(around.victim.pid, signal.SIGKILL)
    os.waitid(os.P_PID, around.victim.pid, os.WEXITED | os.WNOWAIT)
    assert around.harmed() == ("TOUCHED", "a process was ended")


@pytest.mark.parametrize(
    ("said", "status", "memory", "outcome"),
    [
        ("fine", 0, 0, "held"),
        ("groupwise run: no", 2, 0, "refused"),
        ("a \x1b[2J", 0, 0, "ESCAPED"),
        ("a \u202e", 2, 0, "ESCAPED"),
        ("fine", 0, 4 << 30, "ESCAPED"),
        ("Traceback (most recent call last):\nx", 1, 0, "TRACEBACK"),
        ("", -9, 0, "TRACEBACK"),
        ("", None, 0, "HUNG"),
    ],
)
def test_an_ending_is_judged(
    faults: dict[str, ModuleType], tmp_path: Path, said: str, status: int | None, memory: int, outcome: str
) -> None:
    place = sys.modules["attempts.commands"].Place(tmp_path, tmp_path, tmp_path / "home")
    assert faults["strangers_here"].judged(place, {}, status, memory, said).outcome == outcome
    place.mark.touch()
    assert faults["strangers_here"].judged(place, {}, status, memory, said).outcome == "ESCAPED"


def test_a_table_counts_what_was_lost(faults: dict[str, ModuleType]) -> None:
    rows = [
        {"name": "a: x", "caller": "root", "outcome": "held", "seconds": 1.0, "detail": ""},
        {"name": "a: x", "caller": "plain user", "outcome": "TOUCHED", "seconds": 2.0, "detail": "thesis"},
        {"name": "b: y", "caller": "root", "outcome": "refused", "seconds": 0.5, "detail": "no"},
    ]
    found = faults["strangers"].summary(rows, [])
    assert (found["attempts"], found["tries"], found["by_kind"]) == (2, 3, {"a": 1, "b": 1})
    assert found["lost"] == ["a: x (plain user): TOUCHED, thesis"]
    assert found["by_attempt"]["a: x"] == {"seconds": 2.0, "root": "held", "plain user": "TOUCHED"}
