"""The doctor raises alarms: named alarms on a run's own metrics, each with the number that raised it and the knob that
answers it.

An alarm is a frozen dataclass whose fields are its thresholds, each with its reason, and one function from the rows of
a stage to a sentence or None. It is told when it begins to hold, and again only after it has stopped. All it knows is
in metrics.jsonl, so a resumed run says the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from groupwise.doctor.episodes import ToolsUnused, TurnDrift, UnfinishedEpisodes
from groupwise.doctor.hacking import RewardHacking
from groupwise.doctor.history import Row
from groupwise.doctor.learning import DISTANCE, GRADIENT, ClippedShare, MaskedShare, Mismatch, Staleness
from groupwise.doctor.policy import EntropyCollapse, LengthDrift, NoSignal, Repetition, Truncation
from groupwise.storage.json_rows import Follower, truncate_after

MISMATCH = {False: 1e-3, True: 0.1}
"""Nats a token, in float32 and in half precision: a thousand times, and a few times, what rounding makes."""


class Alarm(Protocol):
    """An alarm watches for one thing that can go wrong."""

    @property
    def name(self) -> str:
        """Is the alarm's name in docs/alarms.md."""

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says what the rows say, with the numbers and the knob; None: nothing. Decided by the last of them."""
        ...


def alarms(updates_per_draw: float, half_precision: bool, hacked: Sequence[tuple[str, int]] = ()) -> tuple[Alarm, ...]:
    """Returns the alarms of a stage. ``hacked``: rewards that a rule on so many held-out problems stands beside."""
    return (
        EntropyCollapse(),
        LengthDrift(),
        Truncation(),
        NoSignal(),
        Repetition(),
        GRADIENT,
        DISTANCE,
        ClippedShare(),
        MaskedShare(),
        Mismatch(MISMATCH[half_precision]),
        Staleness(updates_per_draw),
        ToolsUnused(),
        TurnDrift("turns"),
        TurnDrift("tokens/observed"),
        UnfinishedEpisodes(),
        *(RewardHacking(name, problems) for name, problems in hacked),
    )


def new_alarms(rows: Sequence[Row], watched: Sequence[Alarm]) -> Iterator[tuple[str, str]]:
    """Yields name and sentence of each alarm that holds now and did not one row before."""
    for alarm in watched:
        sentence = alarm.sentence(rows)
        if sentence and not alarm.sentence(rows[:-1]):
            yield alarm.name, sentence


class Doctor:
    """A doctor listens to one stage, and writes what it says to ``alarms.jsonl``."""

    def __init__(self, stage: str, metrics: Path, path: Path, watched: Sequence[Alarm]) -> None:
        self.stage, self.path, self.watched = stage, path, watched
        self._follower = Follower(metrics, stage)
        self._begun = False

    def observe(self, step: int) -> list[str]:
        """Looks at a stage after a step whose row is written: a sentence for each alarm that begins there."""
        if not self._begun:
            self._forget(step)
        told = []
        for name, sentence in new_alarms(self._follower.newest(), self.watched):
            line = json.dumps({"stage": self.stage, "step": step, "alarm": name, "sentence": sentence})
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            told.append(f"{name}: {sentence}")
        return told

    def _forget(self, step: int) -> None:
        """What an interrupted run said of this step and later ones, which are about to be lived again."""
        truncate_after(self.path, self.stage, step - 1)
        self._begun = True
