"""This module finds rollouts: by their numbers at once, by their text file after file, as far as the time allows."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from groupwise.view.filters import Filter
from groupwise.view.index import LedgerIndex
from groupwise.view.ledger_numbers import LISTS, Array, read

SECONDS = 0.15
"""A request looks for a text as long as this; then it says what it has, and the page asks on."""
KEPT_SEARCHES = 8
KEPT_EXCERPTS = 20000
LETTERS = 240


@dataclass
class TextSearch:
    """This is a search for a text that goes on from request to request, the newest files first."""

    rows: Array
    found: list[Array] = field(default_factory=list)
    begun: int = 0
    """How many of ``rows`` were looked at."""


class Search:
    """This holds the searches in one run's rollouts, so that the next page goes on where the last ended."""

    def __init__(self, index: LedgerIndex) -> None:
        self.index = index
        self._searches: OrderedDict[tuple[Filter, int], TextSearch] = OrderedDict()
        self._excerpts: OrderedDict[tuple[Path, int], tuple[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def page(self, wanted: Filter, offset: int, limit: int) -> dict[str, Any]:
        """Returns the rollouts of a page, how many there are in all, and how far the search has come."""
        with self._lock, self.index.lock:
            rows = wanted.rows(self.index)
            done = 1.0
            if wanted.text:
                rows, done = self._with_text(wanted, rows)
            chosen = wanted.ordered(rows, self.index, offset + limit)[offset:]
            facts = [self._facts(int(row)) for row in chosen]
            files = [self.index.files[int(self.index.table["file"][row])] for row in chosen]
            reward = self.index.table["reward"][rows] if len(rows) else np.zeros(0)
            version = self.index.version
        self._add_texts(facts, files)
        known = reward[~np.isnan(reward)] if np.isnan(reward).any() else reward
        return {
            "rows": facts,
            "total": len(rows),
            "mean_reward": float(known.mean()) if len(known) else None,
            "searched": done,
            "progress": self.index.progress,
            "version": version,
        }

    def choices(self) -> dict[str, Any]:
        """Returns what a filter can choose among: stages, rewards and their statuses, reasons to stop."""
        with self.index.lock:
            names = self.index.table.names()
            statuses = [text for name in names if name.startswith("status:") for text in self.index.texts[name]]
            return {
                "stages": list(self.index.stages),
                "parts": [name.removeprefix("part:") for name in names if name.startswith("part:")],
                "statuses": list(dict.fromkeys(statuses)),
                "stops": list(self.index.texts["stop"]),
                "steps": [
                    min((s for _, s in self.index.steps), default=0),
                    max((s for _, s in self.index.steps), default=0),
                ],
                "progress": self.index.progress,
            }

    def _with_text(self, wanted: Filter, rows: Array) -> tuple[Array, float]:
        """The rows among these whose text holds what is wanted, as far as they were looked at, and that share."""
        if not len(rows):
            return rows, 1.0
        key = (replace(wanted, order="newest"), len(self.index.files))
        search = self._searches.pop(key, None) or TextSearch(rows[::-1] if self._is_ascending(rows) else rows)
        self._searches[key] = search
        while len(self._searches) > KEPT_SEARCHES:
            self._searches.popitem(last=False)
        until = time.perf_counter() + SECONDS
        files = self.index.table["file"]
        while search.begun < len(search.rows) and time.perf_counter() < until:
            at = files[search.rows[search.begun]]
            end = search.begun + _run_of(files[search.rows[search.begun :]], at)
            own = search.rows[search.begun : end]
            search.found.append(own[self._holding(self.index.files[at], wanted.text, self.index.table["row"][own])])
            search.begun = end
        found = np.concatenate(search.found) if search.found else rows[:0]
        return np.sort(found), search.begun / len(search.rows) if len(search.rows) else 1.0

    def _is_ascending(self, rows: Array) -> bool:
        """Says whether the newest step stands last."""
        step = self.index.table["step"]
        return len(rows) > 1 and step[rows[0]] < step[rows[-1]]

    def _holding(self, path: Path, text: str, rows: Array) -> Array:
        table = read(path, ("text",))
        if table is None:
            return np.zeros(len(rows), bool)
        holds = pc.fill_null(pc.match_substring(table["text"], text, ignore_case=True), False)
        found = np.asarray(holds.to_numpy())
        return found[np.minimum(rows, len(found) - 1)]

    def _facts(self, row: int) -> dict[str, Any]:
        """Returns what the index knows of a rollout."""
        table = self.index.table
        at = int(table["file"][row])
        stage, step = self.index.steps[at]
        numbers = {name: table[name][row].item() for name in ("reward", *LISTS) if name in table}
        parts = {n.removeprefix("part:"): table[n][row].item() for n in table.names() if n.startswith("part:")}
        counts = {name: int(table[name][row]) for name in ("row", "group", "finished", "correct", "signal")}
        length = int(table["length"][row]) if "length" in table else -1
        texts = {name: self.index.text_of(name, int(table[name][row])) for name in ("example", "stop")}
        known = {name: None if value != value else value for name, value in numbers.items()}
        return {
            **{"stage": stage, "step": step, **counts, **texts, **known},
            "length": None if length < 0 else length,
            "parts": {name: None if value != value else value for name, value in parts.items()},
        }

    def _add_texts(self, facts: list[dict[str, Any]], files: list[Path]) -> None:
        """The beginning of each prompt and completion, read from the files once."""
        missing: dict[Path, list[int]] = {}
        for fact, path in zip(facts, files, strict=True):
            if (path, fact["row"]) not in self._excerpts:
                missing.setdefault(path, []).append(fact["row"])
        for path, rows in missing.items():
            table = read(path, ("prompt", "text"))
            for row in rows:
                self._excerpts[path, row] = tuple(_excerpt(table, name, row) for name in ("prompt", "text"))  # type: ignore[assignment]
        for fact, path in zip(facts, files, strict=True):
            fact["prompt"], fact["text"] = self._excerpts.get((path, fact["row"]), ("", ""))
        while len(self._excerpts) > KEPT_EXCERPTS:
            self._excerpts.popitem(last=False)


def _run_of(values: Array, value: int) -> int:
    """Counts how many at the beginning are that value."""
    other = np.flatnonzero(values != value)
    return int(other[0]) if len(other) else len(values)


def _excerpt(table: Any, name: str, row: int) -> str:
    if table is None or name not in table.column_names or row >= table.num_rows:
        return ""
    text = table[name][row].as_py() or ""
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"
