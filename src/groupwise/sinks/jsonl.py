"""This sink writes ``metrics.jsonl`` and ``times.jsonl``: one line a step, in the order of time; what a clock measured
stands apart."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groupwise.protocols import Sink
from groupwise.storage.json_rows import read_rows, truncate_after
from groupwise.values.metric_names import timed, untimed

METRICS, TIMES = "metrics.jsonl", "times.jsonl"


class JsonLines(Sink):
    """Appends ``{"stage", "step", metric: value ...}`` to ``path``, and to ``times.jsonl`` beside it ``{"stage",
    "step", "time_seconds", metric: value ...}`` with the metrics that a clock makes (``metric_names``).

    So the first is the same for every run of a recipe. ``time_seconds`` is Unix time. A value that is not finite is
    written as null, which every JSON reader takes. ``read_metrics`` reads both.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.times = path, path.with_name(TIMES)
        path.parent.mkdir(parents=True, exist_ok=True)

    def stage(self, name: str, steps: int, start: int) -> None:
        """A resumed stage goes on behind its step ``start``: what an interrupted run wrote after that is removed."""
        for path in (self.path, self.times):
            truncate_after(path, name, start)

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Appends a step's numbers, those that depend on the clock to times.jsonl, the others to metrics.jsonl. What is
        not finite is null."""
        numbers = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        place: dict[str, Any] = {"stage": stage, "step": step}
        _append(self.times, place | {"time_seconds": round(time.time(), 3)} | timed(numbers))
        _append(self.path, place | untimed(numbers))


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The steps of a run directory, each with every number, of both files; none where the run has made no step."""
    rows, times = (read_rows(directory / name) for name in (METRICS, TIMES))
    beside = {(row["stage"], row["step"]): row for row in times}
    return [beside.get((row["stage"], row["step"]), {}) | row for row in rows]
