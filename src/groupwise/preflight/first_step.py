"""A stage's first step on a small part of its draw, all but the update: through the lines that a run goes through."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from groupwise.algorithm import Source
from groupwise.errors import UserError
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Trainable
from groupwise.preflight.findings import Notebook
from groupwise.sources import DrawContext
from groupwise.training.stage import Stage
from groupwise.training.update import prepare
from groupwise.types import Group, flatten

PROMPTS = 2
"""Sampled for at first; rows that hold their completions are drawn as the stage draws them."""
MORE = 4
"""So many times as many prompts are sampled for where nothing was kept of fewer."""
GROUPS = 4  # that a gradient is computed of


def try_first_step(notes: Notebook, stage: Stage, context: DrawContext, learner: Trainable, limit: float) -> None:
    """Draws, and computes the gradient of a few groups. Raises what would stop a run."""
    groups = _drawn(notes, stage, context, limit)[:GROUPS]
    if not groups:
        return
    algorithm, signals = stage.algorithm, prepare(stage, learner, groups)
    try:
        tally = learner.accumulate(TrainBatch.of(algorithm, flatten(groups), signals), algorithm)
    finally:
        learner.discard()
    if tally.bad:
        notes.problem("first step", f"the gradient of {len(groups)} groups can't be used: {tally.bad.sentence()}")
        return
    notes.fact("first step", f"{len(groups)} groups were drawn and their gradient computed, as the run will do it")


def _drawn(notes: Notebook, stage: Stage, context: DrawContext, limit: float) -> list[Group]:
    """Of the stage's first draw; of one that samples, for PROMPTS of its prompts."""
    source, few = stage.algorithm.source, stage.prompts_per_step
    if wanted := source.gathers(len(stage.task.train)):
        return _gathered(notes, source, wanted, replace(context, prompts_per_step=PROMPTS), limit)
    if source.samples_per_prompt:
        few = min(PROMPTS, few)
    return source.on_trial(few).draw(replace(context, prompts_per_step=few), {}).groups


def _gathered(notes: Notebook, source: Source, wanted: int, context: DrawContext, limit: float) -> list[Group]:
    """Samples for more and more prompts until something is kept, all were asked, or the time is over. The seeds are the
    run's, so that what of all prompts leaves nothing to learn from would stop the run."""
    asked, started = PROMPTS, time.perf_counter()
    while True:
        heard = _GatherProgress()
        try:
            return source.on_trial(min(asked, wanted)).draw(replace(context, on_phase=heard), {}).groups
        except UserError as error:
            if not heard.whole or asked >= wanted:
                raise
            if time.perf_counter() - started > limit / (1 + MORE):
                notes.remark("first step", f"of a small part of its samples nothing could be learned: {error}")
                return []
        asked *= MORE


@dataclass
class _GatherProgress:
    """Hears how far gathering has come: what is raised after its end is about what was sampled."""

    whole: bool = False

    def __call__(self, name: str, done: int, total: int) -> None:
        self.whole = self.whole or (name == "gather" and done == total)
