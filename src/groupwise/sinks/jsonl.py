"""``metrics.jsonl`` and ``times.jsonl``: one line a step, in the order of time; what a clock measured stands apart."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groupwise.clock import timed, untimed
from groupwise.errors import UserError
from groupwise.types import Group

METRICS, TIMES = "metrics.jsonl", "times.jsonl"


class JsonLines:
    """Appends ``{"stage", "step", metric: value ...}`` to ``path``, and to ``times.jsonl`` beside it ``{"stage",
    "step", "time_seconds", metric: value ...}`` with the metrics that a clock makes (``groupwise.clock``).

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
        numbers = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        place: dict[str, Any] = {"stage": stage, "step": step}
        _append(self.times, place | {"time_seconds": round(time.time(), 3)} | timed(numbers))
        _append(self.path, place | untimed(numbers))

    def phase(self, name: str, done: int, total: int) -> None:
        """Not written."""

    def groups(self, stage: str, step: int, groups: Sequence[Group], coefficients: Sequence[Sequence[float]]) -> None:
        """Not written."""

    def note(self, text: str) -> None:
        """Not written."""

    def close(self, summary: Mapping[str, Any]) -> None:
        """Nothing stays open between steps."""


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The steps of a run directory, each with every number, of both files; none where the run has made no step."""
    rows, times = (read_rows(directory / name) for name in (METRICS, TIMES))
    beside = {(row["stage"], row["step"]): row for row in times}
    return [beside.get((row["stage"], row["step"]), {}) | row for row in rows]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """A row a line; none where there is no file. A last line that a killed run left half-written is none either. Raises
    UserError for another line that is not JSON."""
    rows = []
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line, text in enumerate(lines, start=1):
        if not text.endswith(b"\n"):
            break
        try:
            rows.append(json.loads(text))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{line} is not JSON ({error.msg}): delete this line") from error
    return rows


def truncate_after(path: Path, stage: str, step: int) -> None:
    """Cut the file before the first line of ``stage`` whose step is above ``step``, and with it all that came later.

    Stages run one after another, so what stands behind that line is of a time that is about to be lived again. A line
    that a stopped run left half-written is cut too. No file is no error.
    """
    if not path.exists():
        return
    kept = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            row = json.loads(line)
            if row["stage"] == stage and row["step"] > step:
                break
            kept += len(line)
    os.truncate(path, kept)
