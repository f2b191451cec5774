"""This module decides which checkpoints of a stage stay on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from groupwise.runs.directory import RunDirectory
from groupwise.storage.json_rows import read_rows
from groupwise.storage.tensors import PROGRESS
from groupwise.training.stage import Checkpoints

BEST = "best"
"""What ``Best.record`` stands under, beside where a stage stands."""


class Best(NamedTuple):
    """This is where a stage's ``keep_best`` was highest so far."""

    metric: str = ""
    value: float = 0.0
    step: int | None = None

    def record(self) -> dict[str, Any]:
        """Returns it as a checkpoint keeps it: a file of steps may be cut."""
        return {} if self.step is None else {BEST: list(self)}


def best_so_far(place: RunDirectory, stage: str, checkpoints: Checkpoints) -> Best:
    """The step at which ``keep_best`` is highest, the first of several: of those in metrics.jsonl, and of what the
    checkpoints knew when they were written."""
    name = checkpoints.keep_best
    if not name:
        return Best()
    rows = [row for row in read_rows(place.metrics) if row["stage"] == stage]
    found = [Best(name, row[name], row["step"]) for row in rows if row.get(name) is not None]
    known = [best for path in place.checkpoints(stage).values() if (best := _known(path)) and best.metric == name]
    return max((*found, *known), key=lambda best: (best.value, -(best.step or 0)), default=Best())


def _known(checkpoint: Path) -> Best | None:
    """Returns what a checkpoint recorded; None where it knew of none, or is damaged."""
    try:
        kept = json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))[BEST]
        return Best(str(kept[0]), float(kept[1]), int(kept[2]))
    except (OSError, ValueError, TypeError, LookupError):
        return None


def rotate(place: RunDirectory, stage: str, checkpoints: Checkpoints, finished: bool, end: int | None = None) -> None:
    """Removes the checkpoints that ``checkpoints`` does not keep. ``finished``: the stage has left its model. ``end``:
    the last step, of the run's last stage."""
    there = place.checkpoints(stage)
    kept = checkpoints.kept(list(there), best_so_far(place, stage, checkpoints).step, finished, end)
    place.latest(there[max(there)] if there and not finished else None)
    place.drop_checkpoints(stage, kept)
    if finished:
        place.drop_damaged(stage)
