"""A stage's first step on a small part of its draw, all but the update: through the lines that a run goes through."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from groupwise.errors import UserError
from groupwise.learners.local import LocalLearner
from groupwise.learners.scorer import ScorerLearner
from groupwise.preflight.findings import Notebook
from groupwise.sources import FrozenPolicy, MonteCarloSteps, OnPolicy, World
from groupwise.tally import Tally
from groupwise.types import Group, flatten
from groupwise.update import prepare

PROMPTS = 2
"""Sampled for at first; rows that hold their completions are drawn as the stage draws them."""
MORE = 4
"""So many times as many prompts are sampled for where nothing was kept of fewer."""
GROUPS = 4  # that a gradient is computed of


def try_first_step(notes: Notebook, world: World, learner: LocalLearner | ScorerLearner, limit: float) -> None:
    """Draws, and computes the gradient of a few groups. Raises what would stop a run."""
    groups = _drawn(notes, world, limit)[:GROUPS]
    if not groups:
        return
    algorithm, signals = world.stage.algorithm, prepare(world.stage, learner, groups)
    together = signals.group.tolist() if algorithm.objective.joins_group() else None
    try:
        tally = Tally(algorithm, signals)
        learner.accumulate(flatten(groups), algorithm.source.temperature, tally, algorithm.outputs, together)
    finally:
        learner.discard()
    notes.fact("first step", f"{len(groups)} groups were drawn and their gradient computed, as the run will do it")


def _drawn(notes: Notebook, world: World, limit: float) -> list[Group]:
    """Of the stage's first draw; of one that samples, for PROMPTS of its prompts."""
    source: Any = world.stage.algorithm.source
    if isinstance(source, FrozenPolicy | MonteCarloSteps):
        return _gathered(notes, world, source, limit)
    few = world.stage.prompts_per_step
    if isinstance(source, OnPolicy):
        source, few = replace(source, most_rounds=1), min(PROMPTS, few)
    return source.draw(_with(world, source, few), 0).groups


def _with(world: World, source: Any, prompts_per_step: int) -> World:
    algorithm = replace(world.stage.algorithm, source=source)
    return replace(world, stage=replace(world.stage, algorithm=algorithm, prompts_per_step=prompts_per_step))


def _gathered(notes: Notebook, world: World, source: Any, limit: float) -> list[Group]:
    """Samples for more and more prompts until something is kept, all were asked, or the time is over. The seeds are the
    run's, so that what of all prompts leaves nothing to learn from would stop the run."""
    rows = len(world.stage.task.train)
    wanted, asked, started = min(source.prompts or rows, rows), PROMPTS, time.perf_counter()
    while True:
        small = replace(source, prompts=min(asked, wanted), replay=0.0, replay_from=())
        heard = _Gathered()
        try:
            return small.draw(replace(_with(world, small, PROMPTS), on_phase=heard), 0).groups
        except UserError as error:
            if not heard.whole or asked >= wanted:
                raise
            if time.perf_counter() - started > limit / (1 + MORE):
                notes.remark("first step", f"of a small part of its samples nothing could be learned: {error}")
                return []
        asked *= MORE


@dataclass
class _Gathered:
    """Hears how far gathering has come: what is raised after its end is about what was sampled."""

    whole: bool = False

    def __call__(self, name: str, done: int, total: int) -> None:
        self.whole = self.whole or (name == "gather" and done == total)
