"""Runs whose tracker sleeps, raises, hangs, or cannot be opened: the run's own files are those of a run without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from compare import different, kept
from damages import Notes
from forked import in_child
from kills import whole

import groupwise as gw
from groupwise.sinks import background
from groupwise.sinks.background import BackgroundSink
from groupwise.sinks.delivery import DeliveryRecord
from groupwise.sinks.trackers import RunInfo
from recipes import KINDS

KIND = "grpo"
PATIENCE, CLOSING, NAP = 1.0, 1.0, 0.3
MOST_SECONDS = 15.0
"""So much longer may a run take with any of them, on a busy machine."""


def refuse() -> None:
    raise ConnectionError("no route to host")


def nothing() -> None:
    """Does not do it."""


HANGS = partial(time.sleep, 3600.0)
NAPS = partial(time.sleep, NAP)


@dataclass(frozen=True)
class Troubled:
    """A tracker, and what it does when it is opened, told a step or a table, and closed."""

    opening: Callable[[], None] = nothing
    logging: Callable[[], None] = nothing
    closing: Callable[[], None] = nothing

    def refuse(self) -> None: ...

    def open(self, about: RunInfo) -> Any:
        return BackgroundSink("troubled", self._opened, DeliveryRecord(about.directory, "troubled"))

    def _opened(self) -> Troubled:
        self.opening()
        return self

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.logging()

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.logging()

    def close(self, summary: Mapping[str, Any]) -> None:
        self.closing()


TROUBLES = {
    "sleeps at each step": Troubled(logging=NAPS),
    "sleeps when it is opened": Troubled(opening=NAPS),
    "cannot be opened": Troubled(opening=refuse),
    "raises at each step": Troubled(logging=refuse),
    "raises at the end": Troubled(closing=refuse),
    "hangs when it is opened": Troubled(opening=HANGS),
    "hangs at a step": Troubled(logging=HANGS),
    "hangs at the end": Troubled(closing=HANGS),
}
TELLS_SINKS = ("groupwise_run.json", "manifest.json")
"""The recipe stands there, and a hash of it."""
UNNAMED = ("sleeps at each step", "sleeps when it is opened")
"""These may be done in time."""


def trackers(place: Path) -> dict[str, Any]:
    """Each trouble in a run of its own."""
    undisturbed = whole(KIND, place / "whole")
    lost: list[str] = []
    longest = 0.0
    for name, tracker in TROUBLES.items():
        there, started = place / name.replace(" ", "-"), time.perf_counter()
        if in_child(partial(troubled, tracker), there):
            lost.append(f"{name}: the run ended: {(there / 'said.txt').read_text()[-300:]}")
            continue
        seconds = time.perf_counter() - started - undisturbed.seconds
        longest = max(longest, seconds)
        wrong = different(undisturbed.files, kept(there / "run"))
        lost += [f"{name}: {what}" for what in wrong if Path(what).name not in TELLS_SINKS]
        lost += [f"{name}: {seconds:.0f} s longer"] * (seconds > MOST_SECONDS)
        named = (there / "said.txt").read_text().count("sink troubled: ")
        lost += [f"{name}: named {named} times"] * (named > 1 or (named == 0 and name not in UNNAMED))
    return {"troubled_trackers": len(TROUBLES), "longest_extra_seconds": round(longest, 1), "lost": lost}


def troubled(tracker: Any) -> None:
    """A run with it, in the present directory."""
    background.PATIENCE_SECONDS, background.CLOSING_SECONDS = PATIENCE, CLOSING
    recipe = KINDS[KIND]()
    gw.run(replace(recipe, sinks=(*recipe.sinks, tracker)), "run", sinks=[Notes()])
