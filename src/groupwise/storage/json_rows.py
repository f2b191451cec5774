"""This module reads files of one JSON object a line and step (metrics.jsonl, times.jsonl, alarms.jsonl): one reader,
one tolerance.

A run may be killed, and a machine may lose power, while a line is written: what is left is half a line, or a block of
zeros. A line that is no step's row is passed over by everyone who reads, and cut out when the run goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from groupwise.storage.atomic import open_new

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Returns the rows of a file, in order; none where there is no file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        return [row for _, row in _lines(file) if row is not None]


def unreadable(path: Path) -> int:
    """Counts how many whole lines of a file are no rows. Half a line at its end is not counted: a kill leaves that."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(row is None and line.endswith(b"\n") for line, row in _lines(file))


def truncate_after(path: Path, stage: str, step: int) -> None:
    """Cuts the file before the first row of ``stage`` whose step is above ``step``, and with it all that came later.

    Stages run one after another, so what stands behind that row is of a time that is about to be lived again. Lines
    that are no rows go, too. No file is no error.
    """
    if not path.exists():
        return
    kept = bytearray()
    with path.open("rb") as file:
        for line, row in _lines(file):
            if row is not None and row["stage"] == stage and row["step"] > step:
                break
            if row is not None:
                kept += line
    if path.stat().st_size == len(kept):
        return
    if path.read_bytes()[: len(kept)] == kept:
        os.truncate(path, len(kept))
        return
    partial = path.with_name(f".{path.name}.partial")
    with open_new(partial) as file:
        file.write(kept)
    os.replace(partial, path)


class Follower:
    """A stage's rows so far; every line of the file is read once."""

    def __init__(self, path: Path, stage: str) -> None:
        self.path, self.stage = path, stage
        self.rows: list[Row] = []
        self._read = 0

    def newest(self) -> list[Row]:
        """Returns the rows with those that came since."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line, row in _lines(file):
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if row is not None and row["stage"] == self.stage:
                    self.rows.append(row)
        return self.rows


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, Row | None]]:
    """Each line, and the row that it is."""
    for line in file:
        yield line, row_of(line) if line.endswith(b"\n") else None


def row_of(line: bytes) -> Row | None:
    """Returns the row that a whole line holds; None where it holds no step's."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and isinstance(found.get("stage"), str) and isinstance(found.get("step"), int)
    return found if whole else None
