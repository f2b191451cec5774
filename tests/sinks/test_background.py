"""A tracker in a thread of its own: slow, hanging, failing."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from groupwise.output.sample_completions import SampleCompletion
from groupwise.sinks import Sinks, background
from groupwise.sinks.background import BackgroundSink


class Told:
    """A board that keeps what it is told, where and when it may."""

    def __init__(self, may: threading.Event, fails: bool = False) -> None:
        self.may, self.fails, self.told, self.threads = may, fails, list[Any](), set[str]()

    def _tell(self, what: Any) -> None:
        self.may.wait()
        self.threads.add(threading.current_thread().name)
        if self.fails:
            raise ConnectionError("refused")
        self.told.append(what)

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self._tell((stage, step, dict(values)))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self._tell((name, list(columns), [list(row) for row in rows]))

    def close(self, summary: Mapping[str, Any]) -> None:
        self._tell(dict(summary))


def test_nobody_waits_and_everything_arrives_in_order() -> None:
    may = threading.Event()
    board = Told(may)
    sink = BackgroundSink("mine", lambda: board)
    values = {"loss": 1.0}
    sink.stage("sft", 2, 0)
    sink.metrics("sft", 1, values)
    values["loss"] = 9.0  # the caller's own, afterwards
    sink.completions("sft", {"best": SampleCompletion("1 + 1 = ?", "2", 1.0, True, True)})
    assert board.told == []
    may.set()
    sink.close({"steps": 2})
    columns = ["which", "question", "completion", "reward", "correct", "finished"]
    table = ("sft", columns, [["best", "1 + 1 = ?", "2", 1.0, True, True]])
    assert board.told == [("sft", 1, {"loss": 1.0}), table, {"steps": "2"}]
    assert board.threads == {"sink mine"}


def test_what_goes_wrong_there_drops_it_under_its_name() -> None:
    may = threading.Event()
    sink, heard = BackgroundSink("mine", lambda: Told(may, fails=True)), BackgroundSink("other", lambda: Told(may))
    notes: list[str] = []
    heard.note = notes.append  # type: ignore[method-assign]
    sinks = Sinks(sink, heard)
    sinks.metrics("sft", 1, {})
    may.set()
    sinks.close({})
    assert notes == ["sink mine: dropped, the run goes on without it: ConnectionError: refused"]


def test_one_that_cannot_be_opened_says_so() -> None:
    def closed() -> Told:
        raise PermissionError("not logged in")

    with pytest.raises(PermissionError, match="not logged in"):
        BackgroundSink("mine", closed).close({})


def test_one_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(background, "CLOSING_SECONDS", 0.01)
    may = threading.Event()
    sink = BackgroundSink("mine", lambda: Told(may))
    with pytest.raises(TimeoutError, match="has not answered for 0 s"):
        sink.metrics("sft", 1, {})
    other = BackgroundSink("other", lambda: Told(may))
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 1e9)
    other.metrics("sft", 1, {})
    with pytest.raises(TimeoutError, match=r"did not finish within 0\.01 s"):
        other.close({})
    may.set()
