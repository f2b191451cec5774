"""``metrics.jsonl``: one line a step, every metric, in the order of time."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groupwise.types import Group


class JsonLines:
    """Appends ``{"stage", "step", "time_seconds", metric: value ...}``; whole lines reach the disk at every step.

    ``time_seconds`` is Unix time. A value that is not finite is written as null, which every JSON reader takes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def stage(self, name: str, steps: int, start: int) -> None:
        """A resumed stage goes on behind its step ``start``: what an interrupted run wrote after that is removed."""
        truncate_after(self.path, name, start)

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        numbers = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"stage": stage, "step": step, "time_seconds": round(time.time(), 3), **numbers})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def phase(self, name: str, done: int, total: int) -> None:
        """Not written."""

    def groups(self, stage: str, step: int, groups: Sequence[Group], coefficients: Sequence[Sequence[float]]) -> None:
        """Not written."""

    def note(self, text: str) -> None:
        """Not written."""

    def close(self, summary: Mapping[str, Any]) -> None:
        """Nothing stays open between steps."""


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
