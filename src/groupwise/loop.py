"""The one loop: SFT, RFT, DPO, PPO and GRPO go through these lines.

draw → prepare → for each minibatch: forward, coefficient, backward, step → record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from groupwise.controls import Controls
from groupwise.protocols import Learner, Sink
from groupwise.record import StepRecord
from groupwise.sources import Draw, World
from groupwise.stage import Stage
from groupwise.step_metrics import length_metrics, policy_metrics, time_metrics
from groupwise.stopping import given_up_at_once, heed
from groupwise.types import flatten
from groupwise.update import prepare, update


@dataclass(frozen=True)
class Progress:
    """Where a stage stands: with weights and optimizer, all that the next step depends on."""

    step: int = 0
    """Steps done."""
    cursor: int = 0
    """Position in the stream of prompts."""
    num_tokens: int = 0
    """Prompt and completion tokens learned from so far."""
    kl_coefficient: float | None = None
    """Where an adaptive one stands."""
    entropy_coefficient: float | None = None
    """Where an adaptive one stands."""
    skipped: int = 0
    """Steps in a row, up to the last, of which an update was left out because a number was not finite."""

    @property
    def controls(self) -> Controls:
        return Controls(self.kl_coefficient, self.entropy_coefficient)


AfterStep = Callable[[Progress, StepRecord | None], dict[str, float]]
Checkpoint = Callable[[Progress], None]


def train(
    stage: Stage,
    world: World,
    learner: Learner,
    sink: Sink,
    progress: Progress,
    after_step: AfterStep,
    checkpoint: Checkpoint = lambda progress: None,
) -> Progress:
    """Runs a stage from ``progress`` to its end. ``after_step`` keeps records and may add metrics.

    ``checkpoint`` comes when the step's numbers are out: whoever continues from it has lost none of them.
    """
    started = time.perf_counter()
    for step in range(progress.step, stage.steps):
        controls = progress.controls
        now = replace(stage, algorithm=controls.applied(stage.algorithm))
        world.engine.load(learner.weights(), learner.version)
        with given_up_at_once():
            draw = now.algorithm.source.draw(world.at(step, progress.cursor), progress.cursor)
        drawn = time.perf_counter()

        record, learned = _learn(now, learner, draw, step, world.seed, sink)
        if record is not None and not record.bad:
            controls = controls.after(now.algorithm, record, learned)
        metrics = draw.metrics | learned | controls.metrics()
        trained = time.perf_counter()

        rollouts = flatten(draw.groups)
        tokens = sum(len(rollout.prompt.tokens) + len(rollout.tokens) for rollout in rollouts)
        skipped = 0 if record is not None and not record.bad else progress.skipped + (record is not None)
        learned_from = progress.num_tokens + tokens
        progress = Progress(step + 1, draw.cursor, learned_from, controls.kl, controls.entropy, skipped)
        metrics |= after_step(progress, record) | {"num_tokens": float(progress.num_tokens)}
        metrics |= time_metrics(draw, tokens, drawn - started, trained - drawn, time.perf_counter() - trained)
        started = time.perf_counter()
        sink.metrics(stage.name, step + 1, metrics)
        checkpoint(progress)
    return progress


def _learn(
    stage: Stage, learner: Learner, draw: Draw, step: int, seed: int, sink: Sink
) -> tuple[StepRecord | None, dict[str, float]]:
    """All updates of one draw, and what they measured; nothing where every group was dropped.

    Raises Interrupted where a stop was asked for before the first update.
    """
    rollouts = flatten(draw.groups)
    if not rollouts:
        return None, {}
    before = learner.version

    def told(name: str, done: int, total: int) -> None:
        sink.phase(name, done, total)
        if learner.version == before:
            heed()

    told("train", 0, len(rollouts))
    signals = prepare(stage, learner, draw.groups)
    of_policy = policy_metrics(stage, before, rollouts, signals)
    record, metrics = update(stage, learner, draw.groups, signals, step, seed, told)
    if stage.algorithm.refreshes_reference(step + 1):
        learner.refresh_reference()
    return record, length_metrics(rollouts) | of_policy | metrics
