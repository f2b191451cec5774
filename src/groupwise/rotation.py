"""Which checkpoints of a stage stay on the disk."""

from __future__ import annotations

from groupwise.directory import RunDirectory
from groupwise.stage import Checkpoints
from groupwise.step_rows import read_rows


def best_step(place: RunDirectory, stage: str, checkpoints: Checkpoints) -> int | None:
    """The step at which ``keep_best`` is highest so far, the first of several; None without one."""
    name = checkpoints.keep_best
    if not name:
        return None
    rows = [row for row in read_rows(place.metrics) if row["stage"] == stage]
    found = {row["step"]: row[name] for row in rows if row.get(name) is not None}
    return max(found, key=lambda step: found[step], default=None)


def rotate(place: RunDirectory, stage: str, checkpoints: Checkpoints, finished: bool, end: int | None = None) -> None:
    """Removes those that ``checkpoints`` does not keep. ``finished``: the stage has left its model. ``end``: the last
    step, of the run's last stage."""
    there = place.checkpoints(stage)
    kept = checkpoints.kept(list(there), best_step(place, stage, checkpoints), finished, end)
    place.latest(there[max(there)] if there and not finished else None)
    place.drop_checkpoints(stage, kept)
    if finished:
        place.drop_damaged(stage)
