from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from groupwise.protocols import Sink
from groupwise.sinks import Sinks
from groupwise.sinks.jsonl import JsonLines


class Failing(JsonLines):
    """Raises at its second step, or where it is closed."""

    def __init__(self, path: Path, at_close: bool = False) -> None:
        super().__init__(path)
        self.at_close, self.told = at_close, list[str]()

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.told.append(f"{stage} {step}")
        if step == 2 and not self.at_close:
            raise ConnectionError("no route\nto host")

    def close(self, summary: Mapping[str, Any]) -> None:
        if self.at_close:
            raise OSError("disk full")


class Notes(JsonLines):
    """Keeps notes and the summary."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.notes, self.closed = list[str](), list[Any]()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self, summary: Mapping[str, Any]) -> None:
        self.closed.append(summary)


def test_a_sink_that_raises_is_named_once_and_dropped(tmp_path: Path) -> None:
    failing, other, needed = Failing(tmp_path / "a"), Notes(tmp_path / "b"), Notes(tmp_path / "c")
    sinks: Sink = Sinks(failing, other, essential=[needed])
    sinks.stage("sft", 4, 0)
    for step in (1, 2, 3, 4):
        sinks.metrics("sft", step, {"loss": 1.5})
    sinks.completions("sft", {})
    sinks.close({"report": "x"})
    said = "sink Failing: dropped, the run goes on without it: ConnectionError: no route to host"
    assert (other.notes, needed.notes) == ([said], [said])
    assert failing.told == ["sft 1", "sft 2"]
    for kept in (other, needed):
        assert kept.path.read_text().count("\n") == 4
        assert kept.closed == [{"report": "x"}]


def test_what_a_run_needs_raises_and_all_are_closed(tmp_path: Path) -> None:
    """One that fails when it closes keeps no other open."""
    first, other, needed = Failing(tmp_path / "a", at_close=True), Notes(tmp_path / "b"), Failing(tmp_path / "c")
    sinks = Sinks(first, other, essential=[needed])
    sinks.metrics("sft", 1, {"loss": 1.5})
    with pytest.raises(ConnectionError):
        sinks.metrics("sft", 2, {"loss": 1.5})
    sinks.close({})
    assert other.closed == [{}]
    assert other.notes == ["sink Failing: dropped, the run goes on without it: OSError: disk full"]


def test_sinks_that_all_fail_stop_nothing(tmp_path: Path) -> None:
    sinks = Sinks(Failing(tmp_path / "a"), Failing(tmp_path / "b"))
    sinks.metrics("sft", 2, {})
    sinks.metrics("sft", 3, {})
    assert sinks.sinks == []


def test_importing_the_sinks_is_light() -> None:
    heavy = ["torch", "transformers", "tensorboard", "rich", "numpy", "pyarrow"]
    heavy += ["wandb", "trackio", "mlflow"]
    modules = "sinks, sinks.jsonl, sinks.console, sinks.tensorboard, sinks.trackers, report.page"
    modules += ", evaluation.evaluate, evaluation.statistics, evaluation.comparison"
    code = "import sys; " + "; ".join(f"import groupwise.{name}" for name in modules.split(", "))
    code += f"; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1200, check=True)
    assert done.stdout.strip() == "[]"
