"""This module keeps a few numbers of every rollout of a run in memory, so that a filter over a million of them takes
milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from groupwise.view.ledger_numbers import LISTS, Array, plain_numbers, token_numbers

FIRST_ROOM = 4096
BLANK = {"f": np.nan, "i": -1, "u": 0, "b": False}


class Table:
    """These are numbers by name, a row each; there is always room for more."""

    def __init__(self) -> None:
        self.size = 0
        self._columns: dict[str, Array] = {}
        self._room = 0

    def append(self, values: dict[str, Array]) -> slice:
        """Adds rows behind the others; a column that some rows lack has NaN or -1 there."""
        count = len(next(iter(values.values())))
        rows = slice(self.size, self.size + count)
        self._make_room(rows.stop)
        for name, numbers in values.items():
            self._column(name, numbers.dtype)[rows] = numbers
        for name, column in self._columns.items():
            if name not in values:
                column[rows] = BLANK[column.dtype.kind]
        self.size = rows.stop
        return rows

    def set(self, rows: slice, values: dict[str, Array]) -> None:
        """Gives rows that are there further numbers."""
        for name, numbers in values.items():
            self._column(name, numbers.dtype)[rows] = numbers

    def __getitem__(self, name: str) -> Array:
        return self._columns[name][: self.size]

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def names(self) -> list[str]:
        """Returns the names of the columns."""
        return list(self._columns)

    def _column(self, name: str, kind: Any) -> Array:
        if name not in self._columns:
            self._columns[name] = np.empty(self._room, dtype=kind)
            self._columns[name][: self.size] = BLANK[np.dtype(kind).kind]
        return self._columns[name]

    def _make_room(self, size: int) -> None:
        """Makes room for more rows. What is not used yet takes no memory: nothing is written there."""
        if size <= self._room:
            return
        self._room = max(FIRST_ROOM, size, self._room + self._room // 2)
        for name, old in self._columns.items():
            self._columns[name] = np.empty(self._room, dtype=old.dtype)
            self._columns[name][: self.size] = old[: self.size]


class LedgerIndex:
    """This index holds what of a run's ledger is searched: one row a rollout. Files are read newest first; a step that
    is written again replaces itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self._begin()

    def _begin(self) -> None:
        self.table = Table()
        self.stages: list[str] = []
        self.files: list[Path] = []
        self.steps: list[tuple[str, int]] = []
        self.texts: dict[str, list[str]] = {"example": [], "stop": []}
        self._codes: dict[str, dict[str | None, int]] = {}
        self._known: dict[Path, tuple[tuple[int, int], int, slice]] = {}
        self._unread: list[tuple[int, slice]] = []
        self.waiting = 0
        self.version = 0

    @property
    def progress(self) -> dict[str, int]:
        """Returns how many steps there are, of how many the rewards are known, and of how many the tokens' numbers."""
        known = len(self._known)
        return {"steps": known + self.waiting, "read": known, "tokens_read": known - len(self._unread)}

    def refresh(self) -> bool:
        """Reads the files that are new, and says whether there were any."""
        found = dict(self._found())
        changed = False
        with self.lock:
            if self._known.keys() - found.keys():
                self._begin()
                changed = True
        fresh = [path for path, stamp in found.items() if self._known.get(path, ((0, 0),))[0] != stamp]
        self.waiting = sum(path not in self._known for path in fresh)
        for path in sorted(fresh, key=lambda path: (path.parent.name, path.name), reverse=True):
            numbers = plain_numbers(path)
            self.waiting = max(0, self.waiting - (path not in self._known))
            if numbers is not None:
                self._add(path, found[path], numbers)
                changed = True
        return changed

    def read_tokens(self) -> bool:
        """Reads the numbers of the tokens of one more step, the newest first; says whether there was one."""
        with self.lock:
            if not self._unread:
                return False
            at, rows = self._unread.pop()
            path, table = self.files[at], self.table
        numbers = token_numbers(path)
        with self.lock:
            if table is self.table and numbers and len(numbers["length"]) == rows.stop - rows.start:
                self.table.set(rows, numbers)
                self.version += 1
        return True

    def text_of(self, kind: str, code: int) -> str | None:
        """Returns the text that a code stands for."""
        return self.texts[kind][code] if code >= 0 else None

    def code_of(self, kind: str, text: str) -> int:
        """Returns the code of a text; -2 where no row has it."""
        return self._codes.get(kind, {}).get(text, -2)

    def _found(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for path in self.directory.glob("*/*.parquet"):
            try:
                about = path.stat()
            except OSError:
                continue
            if path.stem.isdecimal():
                yield path, (about.st_mtime_ns, about.st_size)

    def _add(self, path: Path, stamp: tuple[int, int], numbers: dict[str, Any]) -> None:
        """Adds the rows of a step; those that it had before count no more."""
        with self.lock:
            if path in self._known:
                _, _, before = self._known[path]
                self.table["alive"][before] = False
                self._unread = [one for one in self._unread if one[1] != before]
            stage = path.parent.name
            if stage not in self.stages:
                self.stages.append(stage)
            count = len(numbers["reward"])
            columns = {name: values for name, values in numbers.items() if isinstance(values, np.ndarray)}
            columns |= {name: self._coded(name, values) for name, values in numbers.items() if name not in columns}
            at, step = len(self.files), int(path.stem)
            constant = {"file": (at, np.int32), "stage": (self.stages.index(stage), np.int16), "step": (step, np.int32)}
            columns |= {name: np.full(count, value, kind) for name, (value, kind) in constant.items()}
            columns |= {"row": np.arange(count, dtype=np.int32), "alive": np.ones(count, bool)}
            rows = self.table.append(columns)
            self.files.append(path)
            self.steps.append((stage, step))
            self._known[path] = (stamp, at, rows)
            self._unread.insert(0, (at, rows))
            if len(self._known) > 1 and self._is_newest(at):
                self._unread.append(self._unread.pop(0))
            self.version += 1

    def _is_newest(self, at: int) -> bool:
        stage, step = self.steps[at]
        return all(step >= other for name, other in self.steps if name == stage)

    def _coded(self, name: str, values: list[str | None]) -> Array:
        """Returns a number for each text."""
        codes, texts = self._codes.setdefault(name, {None: -1}), self.texts.setdefault(name, [])
        for text in dict.fromkeys(values):
            if text not in codes:
                codes[text] = len(texts)
                texts.append(str(text))
        kind = np.int32 if name == "example" else np.int16
        return np.fromiter((codes[text] for text in values), kind, len(values))


class Indexer:
    """This thread keeps the indices of all runs up to date, with pauses, so that a run beside it is not slowed down."""

    def __init__(self, indices: list[LedgerIndex], every: float = 0.3) -> None:
        self.indices, self.every = indices, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ledger-index", daemon=True)

    def start(self) -> None:
        """Starts the thread that reads files."""
        self._thread.start()

    def close(self) -> None:
        """Stops the thread that reads files, and waits for its end."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while not self._stop.is_set():
            busy = False
            for index in self.indices:
                try:
                    index.refresh()
                    busy |= index.read_tokens()
                except OSError:
                    continue  # the run was started over while its files were read
            if not busy:
                self._stop.wait(self.every)


NUMBERS = ("reward", "length", *(name for name in LISTS))
"""What rollouts can be sorted by."""
