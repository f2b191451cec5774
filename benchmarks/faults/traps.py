"""Where a run is killed: calls of named functions, by phase, each counted; or a moment of the clock."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import groupwise.learners.local
import groupwise.learners.optimizer
import groupwise.learners.scorer
import groupwise.ledger.files
import groupwise.runs.directory
import groupwise.runs.evaluations
import groupwise.runs.resume
import groupwise.runs.saver
import groupwise.runs.session
import groupwise.sinks.jsonl
import groupwise.sources.offline_files
import groupwise.sources.rollouts
import groupwise.storage.atomic

SPOTS: dict[str, list[tuple[Any, str]]] = {
    "sampling": [(groupwise.sources.rollouts, "as_rollout")],
    "reward": [(groupwise.sources.rollouts, "score_rollouts")],
    "backward": [(groupwise.learners.local, "send_back"), (groupwise.learners.scorer, "send_back")],
    "optimiser": [(groupwise.learners.optimizer.Optimizer, "step")],
    "checkpoint writing": [
        (groupwise.runs.saver, "save_progress"),
        (groupwise.storage.atomic, "write_manifest"),
        (groupwise.storage.atomic, "sync"),
        (groupwise.learners.local.LocalLearner, "save"),
        (groupwise.learners.local.LocalLearner, "write"),
        (groupwise.learners.scorer.ScorerLearner, "save"),
        (groupwise.learners.scorer.ScorerLearner, "write"),
    ],
    "renaming": [(os, "replace")],
    "rotation": [(groupwise.runs.directory, "remove_directory"), (shutil, "rmtree"), (os, "unlink"), (os, "rmdir")],
    "ledger and metrics": [(groupwise.ledger.files.Ledger, "write"), (groupwise.sinks.jsonl, "_append")],
    "gathering": [(groupwise.sources.offline_files, "write")],
    "evaluation": [(groupwise.runs.evaluations.Evaluations, "_write")],
    "opening": [
        (groupwise.learners.local.LocalLearner, "read"),
        (groupwise.learners.scorer.ScorerLearner, "read"),
        (groupwise.runs.resume, "whole_checkpoint"),
    ],
}
CLOCK = "any instant"


@dataclass(frozen=True)
class Trap:
    """Kills this process at the ``call``-th call of a phase's functions, before or after it, or after ``seconds``."""

    phase: str
    call: int = 0
    after: bool = False
    seconds: float = 0.0

    def set(self) -> None:
        """Here and now."""
        if self.phase == CLOCK:
            threading.Thread(target=self._wait, daemon=True).start()
            return
        counts = counted(self._heard_before, self._heard_after, {self.phase: SPOTS[self.phase]})
        counts.clear()

    def _wait(self) -> None:
        time.sleep(self.seconds)
        die()

    def _heard_before(self, phase: str, count: int) -> None:
        if count == self.call and not self.after:
            die()

    def _heard_after(self, phase: str, count: int) -> None:
        if count == self.call and self.after:
            die()


def die() -> None:
    """As if the power went, for this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def counted(
    before: Callable[[str, int], None],
    after: Callable[[str, int], None],
    spots: dict[str, list[tuple[Any, str]]] = SPOTS,
) -> Counter[str]:
    """Hears every call of every spot from now on; returns the counts as they grow."""
    counts: Counter[str] = Counter()

    def heard(real: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counts[phase] += 1
            mine = counts[phase]
            before(phase, mine)
            result = real(*arguments, **options)
            after(phase, mine)
            return result

        return call

    for phase, places in spots.items():
        for owner, name in places:
            setattr(owner, name, heard(getattr(owner, name), phase))
    return counts
