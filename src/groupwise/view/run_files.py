"""This module reads what a run has left so far, again and again while the run writes: record, curves, alarms."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any

from groupwise.errors import UserError
from groupwise.storage.clearing import LOCK, RECORD
from groupwise.storage.json_rows import Row, read_rows, row_of
from groupwise.view.whole import whole_evaluation, whole_record

LOCKS = Path("/proc/locks")
FRESH_SECONDS = 60.0
"""Where the system does not say who holds a lock, a run that wrote within this time is taken to be running."""


@dataclass(frozen=True)
class Changes:
    """These are the changes of a run's files since the last look."""

    rows: bool = False
    """There are new steps."""
    again: bool = False
    """The run went back to a checkpoint, or was started over: everything is to be read anew."""
    record: bool = False
    """run.json, the alarms or the evaluation are other than they were, or the run began or stopped."""


@dataclass
class JsonLinesFile:
    """This file of a JSON object a line is read on from where the last look ended."""

    path: Path
    rows: list[Row] = field(default_factory=list)
    _read: int = 0
    _inode: int = 0
    _end: bytes = b""

    def newest(self) -> bool:
        """Adds the rows that came since, and says whether those that were read before are gone."""
        try:
            about = self.path.stat()
        except OSError:
            return self._forget()
        if not S_ISREG(about.st_mode):
            return self._forget()
        other = about.st_size < self._read or about.st_ino != self._inode or self._rewritten()
        again = other and self._forget()
        self._inode = about.st_ino
        if about.st_size > self._read:
            with self.path.open("rb") as file:
                file.seek(self._read)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read += len(whole)
            self._end = (self._end + whole)[-64:]
            self.rows += [row for line in whole.splitlines() if (row := row_of(line)) is not None]
        return again

    def _rewritten(self) -> bool:
        """Says whether the bytes that were read last are others now: cut after a stop, and grown past it since."""
        with self.path.open("rb") as file:
            file.seek(self._read - len(self._end))
            return file.read(len(self._end)) != self._end

    def _forget(self) -> bool:
        known = self._read > 0
        self.rows, self._read, self._inode, self._end = [], 0, 0, b""
        return known


class RunFiles:
    """The files of one run's directory, as they are now. Nothing is written, and no lock is taken."""

    def __init__(self, directory: Path, is_over: bool = False) -> None:
        """Takes the run's directory. ``is_over``: nothing trains there any more, whoever holds the lock: the run writes
        its last page itself."""
        self.directory, self.is_over = directory, is_over
        self.ledger = directory / "ledger"
        self._metrics = JsonLinesFile(directory / "metrics.jsonl")
        self._times = JsonLinesFile(directory / "times.jsonl")
        self._lock = threading.Lock()
        self._begun_again = 0
        self._record: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})
        self._seen: tuple[Any, ...] = ()

    def record(self) -> dict[str, Any]:
        """Returns run.json; empty while there is none. It is read again where it has changed."""
        stamp = _stamp(self.directory / RECORD)
        if stamp != self._record[0]:
            self._record = (stamp, whole_record(_json(self.directory / RECORD)))
        return self._record[1]

    def evaluation(self) -> dict[str, Any]:
        """Returns evaluation.json; without models where there is none."""
        return whole_evaluation(_json(self.directory / "evaluation.json"))

    def alarms(self) -> list[Row]:
        """Returns what the doctor said."""
        return read_rows(self.directory / "alarms.jsonl")

    def rows(self) -> list[Row]:
        """Returns every step so far, with the numbers of both files."""
        with self._lock:
            self._read_on()
            beside = {(row["stage"], row["step"]): row for row in self._times.rows}
            return [beside.get((row["stage"], row["step"]), {}) | row for row in self._metrics.rows]

    def look(self) -> Changes:
        """Says what is other than at the last call."""
        with self._lock:
            self._read_on()
            count, again, started = len(self._metrics.rows), self._begun_again, self.record().get("started")
        about = (self.status(), *map(_stamp, self._watched()))
        before, self._seen = self._seen, (count, again, started, about)
        if not before:
            return Changes()
        over = before[1] != again or (before[2] is not None and before[2] != started)
        return Changes(count != before[0], over, before[3] != about)

    def _read_on(self) -> None:
        """Reads both files on. A step's times are written first, so they are read last: no step is without them."""
        self._begun_again += self._metrics.newest()
        self._times.newest()

    def status(self) -> str:
        """Says ``running``, ``finished``, ``stopped``, or ``empty`` where nothing has begun."""
        record = self.record()
        if not self.is_over and is_locked(self.directory / LOCK, self._times.path):
            return "running"
        if not record:
            return "empty"
        left = all((self.directory / "models" / str(one["name"])).exists() for one in stages_of(record))
        return "finished" if record.get("seconds") is not None and left else "stopped"

    def _watched(self) -> list[Path]:
        return [self.directory / name for name in (RECORD, "alarms.jsonl", "evaluation.json")]


def open_runs(paths: Sequence[str | Path], are_over: bool = False) -> list[RunFiles]:
    """Opens the directories; ``are_over``: nothing trains in them. Raises UserError for one that is no run's."""
    runs = []
    for path in map(Path, paths):
        if not path.is_dir():
            what = "is a file" if path.exists() else "no such directory"
            raise UserError(f"{path}: {what}; expected the directory of a run, such as runs/quickstart")
        if not (path / RECORD).is_file() and not (path / LOCK).exists():
            inside = sorted(one.parent.name for one in path.glob(f"*/{RECORD}"))
            runs_in_it = ", ".join(str(path / name) for name in inside[:4])
            hint = f"there are runs in it: {runs_in_it}" if inside else "expected one such as runs/NAME"
            raise UserError(f"{path}: has no {RECORD}, so it is no run's directory; {hint}")
        runs.append(RunFiles(path, are_over))
    return runs


def stages_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the stages that run.json names, as far as they are whole."""
    found = record.get("stages")
    found = found if isinstance(found, list) else ()
    return [one for one in found if isinstance(one, dict) and isinstance(one.get("name"), str)]


def is_locked(lock: Path, written: Path) -> bool:
    """Says whether a process holds the run's lock. The system's table is read, so that no run that begins meanwhile
    finds the lock taken; where there is none, whether ``written`` is fresh."""
    try:
        about = lock.stat()
    except OSError:
        return False
    try:
        table = LOCKS.read_text(encoding="ascii")
    except OSError:
        return written.exists() and time.time() - written.stat().st_mtime < FRESH_SECONDS
    device = about.st_dev
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{about.st_ino}"
    return any(wanted in line.split() and "FLOCK" in line for line in table.splitlines())


def _json(path: Path) -> dict[str, Any]:
    """Returns the object that a file holds; an empty one where it holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:
        return (0, 0)
    return (about.st_mtime_ns, about.st_size)
