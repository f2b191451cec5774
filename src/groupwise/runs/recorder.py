"""This module says what every recorder of a stage has: it keeps one thing, step by step. ``keeper.StageRecorder`` lists
them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from groupwise.learning.record import StepRecord
from groupwise.training.loop import Progress
from groupwise.types import DEMONSTRATED, flatten


class Recorder(Protocol):
    """Keeps one thing of a stage. A recorder writes those of these methods that it needs."""

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Keeps what it keeps of a step, and returns metrics for it; no record: every group was dropped."""
        return {}

    def checkpoint(self, progress: Progress) -> None:
        """Is called when the step's numbers are out: whoever continues from here has lost none of them."""
        return None

    def drain(self) -> list[Path]:
        """Waits until what was handed over is written: the files since the last call. It may come after ``close``."""
        return []

    def close(self) -> None:
        """Ends what it has open; a stage that fails is closed, too."""
        return None


def is_sampled(record: StepRecord) -> bool:
    """Says whether some policy sampled any of the rollouts."""
    return any(rollout.version != DEMONSTRATED for rollout in flatten(record.groups))
