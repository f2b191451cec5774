"""A tracker hears each step once, whatever a continued run makes again and whatever the tracker was slow to hear."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import groupwise as gw
from groupwise.algorithm import KL
from groupwise.sinks import Sinks
from groupwise.sinks.background import BackgroundSink
from groupwise.sinks.delivery import DeliveryRecord
from groupwise.sinks.jsonl import JsonLines
from groupwise.sinks.trackers import RunInfo, Tracker
from groupwise.types import Example

KEPT: list[tuple[str, int]] = []
"""What the tracker's server has, whichever process told it."""
VALUES = {"reward": 0.5}


class Server:
    """A board that may be slow."""

    def __init__(self, may: threading.Event | None = None) -> None:
        self.may = may

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if self.may:
            self.may.wait()
        assert "reward" in values
        assert "time_seconds" not in values
        KEPT.append((stage, step))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None: ...

    def close(self, summary: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Remote(Tracker):
    """A tracker elsewhere."""

    project: str = "mine"

    def refuse(self) -> None: ...

    def open(self, about: RunInfo) -> Any:
        return BackgroundSink("remote", Server, DeliveryRecord(about.directory, str(self)))


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    KEPT.clear()


def made(place: Path, *steps: int, stage: str = "grpo") -> None:
    """A run's own files have these."""
    lines = JsonLines(place / "metrics.jsonl")
    for step in steps:
        lines.metrics(stage, step, VALUES)


def opened(place: Path, may: threading.Event | None = None, name: str = "remote") -> BackgroundSink:
    return BackgroundSink(name, lambda: Server(may), DeliveryRecord(place, name))


def test_steps_that_are_made_again_are_not_told_again(tmp_path: Path) -> None:
    for steps in ((1, 2, 3, 4), (3, 4, 5)):
        sink = opened(tmp_path)
        for step in steps:
            sink.metrics("grpo", step, VALUES)
        sink.close({})
    assert [("grpo", step) for step in (1, 2, 3, 4, 5)] == KEPT
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"remote": {"grpo": 5}}


def test_what_a_slow_tracker_missed_is_told_when_the_run_goes_on(tmp_path: Path) -> None:
    may = threading.Event()
    slow = opened(tmp_path, may)
    made(tmp_path, 1, 2, 3)
    for step in (1, 2, 3):
        slow.metrics("grpo", step, VALUES)
    assert KEPT == []  # and here the process is killed; the checkpoint is of step 2
    again = opened(tmp_path)
    for step in (3, 4):
        again.metrics("grpo", step, VALUES)
    again.close({})
    assert [("grpo", step) for step in (1, 2, 3, 4)] == KEPT


def test_stages_count_for_themselves_and_so_do_trackers(tmp_path: Path) -> None:
    made(tmp_path, 1, 2, stage="sft")
    made(tmp_path, 1)
    one = opened(tmp_path, name="one")
    one.metrics("grpo", 2, VALUES)
    one.close({})
    assert KEPT == [("sft", 1), ("sft", 2), ("grpo", 1), ("grpo", 2)]
    KEPT.clear()
    opened(tmp_path, name="two").close({})
    assert KEPT == [("sft", 1), ("sft", 2), ("grpo", 1)]
    kept = json.loads((tmp_path / "trackers.json").read_text())
    assert kept == {"one": {"sft": 2, "grpo": 2}, "two": {"sft": 2, "grpo": 1}}


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 40, b'{"remote": 3}', b"[1]", b'{"remote": {"grpo": "x"}}'])
def test_where_the_record_is_lost_nothing_is_told_twice(content: bytes, tmp_path: Path) -> None:
    made(tmp_path, 1, 2)
    (tmp_path / "trackers.json").write_bytes(content)
    sink = opened(tmp_path)
    for step in (2, 3):
        sink.metrics("grpo", step, VALUES)
    sink.close({})
    assert KEPT == [("grpo", 3)]


class BreakOff(BaseException):
    """As a kill ends a run, whatever it is at."""


class Breaks(Sinks):
    """In a step, before its numbers are out."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if step == self.step:
            raise BreakOff


def test_a_real_run_that_breaks_off_and_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    """In step 4, behind a checkpoint of step 2."""
    rows = [Example(f"row:{n}", f"{n}") for n in range(4)]
    algorithm = replace(gw.recipes.grpo, source=gw.OnPolicy(group_size=2, max_completion_tokens=4), kl=KL(0.0))
    task = gw.Task("rows", rows, (gw.as_reward(lambda completion: 1.0, name="one", isolated=False),))
    stage = gw.Stage("grpo", algorithm, task, steps=6, prompts_per_step=2, checkpoint_every=2)
    remote: Any = Remote()
    plan, local = gw.HeldOut(problems=0), gw.Local(device="cpu", threads=1)
    recipe = gw.Run("mine", str(tiny_model), (stage,), local, evaluation=plan, sinks=(remote,))
    with pytest.raises(BreakOff):
        gw.run(recipe, tmp_path / "run", sinks=[Breaks(4)])
    assert [("grpo", step) for step in (1, 2, 3)] == KEPT
    gw.run(recipe, tmp_path / "run", sinks=[])
    assert [("grpo", step) for step in (1, 2, 3, 4, 5, 6)] == KEPT


def test_tensorboard_purges_what_is_made_again(tmp_path: Path) -> None:
    """By its own files and its own reader: each step once, the newest value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from groupwise.sinks.tensorboard import TensorBoard

    for start, value in ((0, 0.1), (2, 0.2), (3, 0.3)):
        sink = TensorBoard(tmp_path)
        sink.stage("grpo", 6, start)
        for step in range(start + 1, 6):
            sink.metrics("grpo", step, {"reward": value})
        sink.close({})
    accumulator = EventAccumulator(str(tmp_path / "grpo"))
    accumulator.Reload()
    found = [(event.step, round(event.value, 3)) for event in accumulator.Scalars("reward")]
    assert found == [(1, 0.1), (2, 0.1), (3, 0.2), (4, 0.3), (5, 0.3)]
