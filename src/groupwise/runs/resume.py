"""This module goes on with a run: what on its disk is whole, and what has changed since it began."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from groupwise.config.describe import differences
from groupwise.errors import UserError
from groupwise.isolation.trials import isolation_record
from groupwise.runs.directory import RunDirectory
from groupwise.storage.atomic import read_json
from groupwise.storage.json_rows import unreadable
from groupwise.storage.manifest import damage

SHOWN_CHANGES = 6
SHOWN_AGAIN = "the groups that it showed are in the ledger"
EVALUATED_AGAIN = "what stages left is evaluated again, the model that the run began with is not"


def whole_checkpoint(place: RunDirectory, stage: str, tell: Callable[[str], None]) -> Path | None:
    """The newest of a stage whose files are as they were written. Every damaged one is named and set aside."""
    for step, path in reversed(place.checkpoints(stage).items()):
        wrong = damage(path)
        if not wrong:
            place.latest(path)
            return path
        aside = place.set_aside(path)
        tell(f"{stage}: the checkpoint of step {step} is damaged: {wrong}; the one before it is used ({aside} has it)")
    place.latest(None)
    return None


def refuse_damaged_model(place: RunDirectory, stage: str) -> None:
    """Raises UserError where the model that a stage left is not as it was written."""
    wrong = damage(place.model(stage))
    if wrong:
        raise UserError(
            f"{place.model(stage)}: the model that {stage} left is damaged: {wrong}; bring the file back, or remove "
            "this directory, and those of later stages, to train it again"
        )


def note_changes(place: RunDirectory, now: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    """Says what is different from when the run began or was last continued, and records what is so now."""
    record = place.read()
    before = {name: record.get(name) for name in now}
    changes = list(differences(dict(now), before))
    if not changes:
        return
    more = f" and {len(changes) - SHOWN_CHANGES} more" if len(changes) > SHOWN_CHANGES else ""
    tell(f"continued under other conditions, so bits may differ: {'; '.join(changes[:SHOWN_CHANGES])}{more}")
    place.write_record({**now, "continued": [*record.get("continued", ()), before]})


def record_resumption(place: RunDirectory, stage: str, step: int) -> None:
    """Records that a stage goes on behind a step, and when."""
    before = place.read().get("resumed", ())
    place.write_record({"resumed": [*before, {"time": round(time.time()), "stage": stage, "step": step}]})


def record_guards(place: RunDirectory) -> None:
    """Records what shuts in whatever this run executes of a model's text; nothing where it executes none."""
    guards = isolation_record()
    if guards is not None and place.read().get("guards") != guards:
        place.write_record({"guards": guards})


def note_unreadable(place: RunDirectory, tell: Callable[[str], None]) -> None:
    """Says which lines of the run's files of steps are none, and which other files hold nothing any more: a machine
    that lost power leaves such."""
    for path in (place.metrics, place.times, place.alarms):
        if lost := unreadable(path):
            tell(f"{path.name}: {lost} lines that can't be read are left out")
    for path, kind, then in ((place.groups, list, SHOWN_AGAIN), (place.evaluation, dict, EVALUATED_AGAIN)):
        if path.exists() and read_json(path, kind) is None:
            path.unlink()
            tell(f"{path.name} can't be read and is begun anew: {then}")
