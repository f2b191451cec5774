"""This module opens the directory of a run that a person named, and says what is wrong where it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.runs.directory import RunDirectory
from groupwise.storage.clearing import RECORD


def known_run(path: Path) -> tuple[RunDirectory, dict[str, Any]]:
    """Returns a run's directory and its record. Raises UserError where there is no directory, no record, or one that
    says nothing."""
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such directory"
        raise UserError(f"{path}: {what}; expected the directory of a run, such as runs/NAME")
    place = RunDirectory(path)
    record = place.read()
    if not record:
        why = "holds no run's record" if place.record.exists() else f"has no {RECORD}, so it is no run's directory"
        raise UserError(f"{place.record if place.record.exists() else path}: {why}; expected one such as runs/NAME")
    return place, record
