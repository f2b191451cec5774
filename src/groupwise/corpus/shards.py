"""This module writes and reads the parquet files of a corpus: each is whole or not there, and the same rows are the
same bytes. A task is done when its counts are there, which are written last."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.corpus.tables import read_table, table_of
from groupwise.storage.atomic import PARTIAL, read_json, remove_any, sync, write_json

if TYPE_CHECKING:
    import pyarrow

SHARD_BYTES = 48 << 20
"""Text of one file, about; compressed it is less."""
ROWS_AT_ONCE = 1_000


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows as one parquet file of those columns, which takes its name when it is whole."""
    write_table(path, table_of(rows, columns))


def write_table(path: Path, table: pyarrow.Table) -> None:
    """Writes one file, which takes its name when it is whole."""
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        parquet.write_table(table, partial, compression="zstd", row_group_size=ROWS_AT_ONCE, store_schema=False)
        sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def partial_of(path: Path) -> Path:
    """The name that a file has until it is whole: no pattern that looks for its kind finds it."""
    return path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}.tmp")


def remove_partial(directory: Path) -> None:
    """Removes what a build that was ended left half written."""
    for path in directory.rglob(f"{PARTIAL}*"):
        remove_any(path)


def parts(directory: Path, name: str) -> list[Path]:
    """Returns the files of one task, in order."""
    return sorted(directory.glob(f"{name}-[0-9][0-9][0-9].parquet"))


def read_parts(directory: Path, name: str, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """Returns the rows of one task."""
    import pyarrow

    return pyarrow.concat_tables([read_table(path, columns) for path in parts(directory, name)])


class Shards:
    """These are the files that one task writes: a new one where the text of the last has reached its size."""

    def __init__(self, directory: Path, name: str, columns: Sequence[str], most: int = SHARD_BYTES) -> None:
        self.directory, self.name, self.columns, self.most = directory, name, tuple(columns), most
        self._rows: list[dict[str, Any]] = []
        self._bytes = self._written = 0

    def add(self, row: dict[str, Any]) -> None:
        """Takes a row, and writes a file where the text that waits has reached its size."""
        self._rows.append(row)
        self._bytes += len(row.get("text") or "")
        if self._bytes >= self.most:
            self._write()

    def close(self) -> None:
        """Writes what is left, one file at least, and removes files beyond it, of a task that had other settings."""
        if self._rows or not self._written:
            self._write()
        for path in parts(self.directory, self.name)[self._written :]:
            path.unlink()

    def _write(self) -> None:
        write_rows(self.directory / f"{self.name}-{self._written:03d}.parquet", self._rows, self.columns)
        self._rows, self._bytes, self._written = [], 0, self._written + 1


STAGE_ORDER = ("read", "extract", "quality", "unique", "recall", "decontaminate")
DROPPED = ("id", "url", "stage", "reason", "evidence")


class Ledger:
    """This ledger of one stage and task holds what came in, what was kept, and what was dropped and why."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.kept = 0
        self.reasons: Counter[str] = Counter()
        self.rows: list[dict[str, Any]] = []

    def keep(self, count: int = 1) -> None:
        """Counts what was kept, one by one or several at once."""
        self.kept += count

    def drop(self, name: str, url: str, reason: str, evidence: str = "") -> None:
        """Counts what was dropped, with a row that says why."""
        self.reasons[reason] += 1
        self.rows.append({"id": name, "url": url, "stage": self.stage, "reason": reason, "evidence": evidence})

    def to_json(self) -> dict[str, Any]:
        """Returns the counts: in = kept + dropped."""
        dropped = dict(sorted(self.reasons.items()))
        return {"in": self.kept + sum(dropped.values()), "kept": self.kept, "dropped": dropped}

    def write(self, directory: Path, name: str) -> None:
        """Writes the rows of what was dropped."""
        write_rows(directory / f"{self.stage}-{name}.parquet", self.rows, DROPPED)


def finish(directory: Path, name: str, counts: Mapping[str, Any]) -> None:
    """Says that a task is done; written last."""
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / f"{name}.json", counts)


def finished(directory: Path, name: str) -> dict[str, Any] | None:
    """Returns the counts of a task that is done; None where it is not."""
    return read_json(directory / f"{name}.json", dict)


def added(counts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of the counts of tasks."""
    total = {"in": 0, "kept": 0}
    dropped: Counter[str] = Counter()
    for each in counts:
        total = {name: total[name] + int(each[name]) for name in total}
        dropped.update(each["dropped"])
    return {**total, "dropped": dict(sorted(dropped.items()))}
