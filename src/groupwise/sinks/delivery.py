"""This module keeps what the trackers of a run have been told of it, in ``trackers.json`` of its directory: of each the
newest step of each stage. So a continued run tells each step once, whatever it makes again and whatever a tracker was
too slow to hear."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from groupwise.sinks.jsonl import read_metrics
from groupwise.storage.atomic import write_json
from groupwise.storage.clearing import TRACKERS

_WRITING = threading.Lock()
"""Each tracker has a thread of its own, and all of them one file."""


class DeliveryRecord:
    """This record is of one tracker, which ``name`` tells from the others of the run."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self.newest = self._read()

    def missed(self) -> Iterator[tuple[str, int, dict[str, float]]]:
        """Yields the steps that were made and not heard, in order, each with its numbers."""
        for row in read_metrics(self.directory):
            if row["step"] > self.newest.get(row["stage"], 0):
                numbers = {name: value for name, value in row.items() if isinstance(value, float)}
                numbers.pop("time_seconds", None)
                yield row["stage"], row["step"], numbers

    def lacks(self, stage: str, step: int) -> bool:
        """Says whether a step is still to be told."""
        return step > self.newest.get(stage, 0)

    def add(self, stage: str, step: int) -> None:
        """Notes that a step of a stage was told, and writes that down."""
        self.newest[stage] = step
        with _WRITING:
            write_json(self.directory / TRACKERS, {**_kept(self.directory), self.name: self.newest})

    def _read(self) -> dict[str, int]:
        """Returns the newest step of each stage that was told; where the record was lost, all that was made counts as
        told."""
        if not (self.directory / TRACKERS).exists():
            return {}
        kept = _kept(self.directory)
        if kept:
            return dict(kept.get(self.name, {}))
        return {row["stage"]: row["step"] for row in read_metrics(self.directory)}


def _kept(directory: Path) -> Mapping[str, Mapping[str, int]]:
    """The file's content; empty where it is none of ours any more."""
    try:
        found = json.loads((directory / TRACKERS).read_text(encoding="utf-8"))
        return {str(name): {str(stage): int(step) for stage, step in steps.items()} for name, steps in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
