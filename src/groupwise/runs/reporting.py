"""This module writes a run's report: at its end, and where it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from groupwise.errors import UserError
from groupwise.runs.directory import RunDirectory


def write_report(directory: Path) -> Path:
    """Writes report.html, and returns where it is. Raises UserError where there is no run."""
    from groupwise.report.page import write_report

    return write_report(directory)


def report_of_stop(place: RunDirectory, note: Callable[[str], None]) -> dict[str, str]:
    """Returns where the report of a stopped run lies; nothing where none could be written, which keeps nobody from
    going on."""
    if not place.record.exists():
        return {}
    try:
        return {"report": str(write_report(place.path))}
    except (OSError, UserError) as error:
        note(f"no report was written: {error}")
        return {}
