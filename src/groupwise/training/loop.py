"""This is the one loop: SFT, RFT, DPO, PPO and GRPO go through these lines.

draw → prepare → for each minibatch: forward, coefficient, backward, step → record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from groupwise.learning.record import StepRecord
from groupwise.learning.trainable import Trainable
from groupwise.protocols import RolloutEngine, Sink
from groupwise.sources import DrawContext, Position, RolloutBatch
from groupwise.sources.draw import after_prompts
from groupwise.training.adaptive import Controls
from groupwise.training.interrupts import interruptible, raise_if_stopped
from groupwise.training.metrics import length_metrics, policy_metrics, time_metrics
from groupwise.training.stage import Stage
from groupwise.training.update import prepare, update
from groupwise.types import flatten


@dataclass(frozen=True)
class Progress:
    """A progress says where a stage stands: with weights and optimizer, all that the next step depends on."""

    step: int = 0
    """Steps done."""
    position: Position = field(default_factory=dict)
    """Where the source stands."""
    num_tokens: int = 0
    """Prompt and completion tokens learned from so far."""
    kl_coefficient: float | None = None
    """Where an adaptive one stands."""
    entropy_coefficient: float | None = None
    """Where an adaptive one stands."""
    skipped: int = 0
    """Steps in a row, up to the last, of which an update was left out because a number was not finite."""

    pending: int = 0
    """Draws made ahead that lie in the checkpoint."""

    @property
    def controls(self) -> Controls:
        """Returns the coefficients that adapt."""
        return Controls(self.kl_coefficient, self.entropy_coefficient)

    def plain(self) -> dict[str, Any]:
        """Returns it as a checkpoint says it."""
        return vars(self) | {"position": dict(self.position)}

    @staticmethod
    def of(saved: Mapping[str, Any]) -> Progress:
        """Reads what a checkpoint says of it. Older ones have a number in place of the position, ``cursor``: that of
        the prompts taken."""
        values = dict(saved)
        cursor = values.pop("cursor", None)
        return Progress(**values if cursor is None else values | {"position": after_prompts(cursor)})


AfterStep = Callable[[Progress, StepRecord | None], dict[str, float]]
Checkpoint = Callable[[Progress], None]


def train(
    stage: Stage,
    context: DrawContext,
    learner: Trainable,
    sink: Sink,
    progress: Progress,
    after_step: AfterStep,
    checkpoint: Checkpoint = lambda progress: None,
) -> Progress:
    """Runs a stage from ``progress`` to its end. ``after_step`` keeps records and may add metrics.

    ``checkpoint`` comes when the step's numbers are out: whoever continues from it has lost none of them.
    """
    started, serve = time.perf_counter(), partial(load_newest, context.engine, learner)
    context = context.but(copy_weights=partial(copied_weights, context.engine, learner))
    for step in range(progress.step, stage.steps):
        controls = progress.controls
        now = replace(stage, algorithm=controls.applied(stage.algorithm))
        with interruptible():
            draw = now.algorithm.source.draw(context.at(step, progress.position, serve), progress.position)
        drawn = time.perf_counter()

        record, learned = _learn(now, learner, draw, step, context.seed, sink)
        if record is not None and not record.bad:
            controls = controls.after(now.algorithm, record, learned)
        metrics = draw.metrics | learned | controls.metrics()
        trained = time.perf_counter()

        rollouts = flatten(draw.groups)
        tokens = sum(len(rollout.prompt.tokens) + len(rollout.tokens) for rollout in rollouts)
        skipped = 0 if record is not None and not record.bad else progress.skipped + (record is not None)
        learned_from = progress.num_tokens + tokens
        progress = Progress(step + 1, draw.position, learned_from, controls.kl, controls.entropy, skipped)
        metrics |= after_step(progress, record) | {"num_tokens": float(progress.num_tokens)}
        metrics |= time_metrics(draw, tokens, drawn - started, trained - drawn, time.perf_counter() - trained)
        started = time.perf_counter()
        sink.metrics(stage.name, step + 1, metrics)
        checkpoint(progress)
    return progress


def copied_weights(engine: RolloutEngine, learner: Trainable) -> Callable[[], None]:
    """Returns what makes the engine sample from the learner's weights as they are now, whenever it is called."""
    copies: dict[tuple[int, torch.Size, tuple[int, ...]], Tensor] = {}
    kept = [(name, _copied(weight, copies)) for name, weight in learner.weights()]
    return partial(engine.load, kept, learner.version)


def _copied(weight: Tensor, copies: dict[tuple[int, torch.Size, tuple[int, ...]], Tensor]) -> Tensor:
    """Copies a weight once for all names of one matrix."""
    key = weight.data_ptr(), weight.shape, weight.stride()
    if key not in copies:
        copies[key] = weight.detach().clone()
    return copies[key]


def load_newest(engine: RolloutEngine, learner: Trainable) -> None:
    """Makes the engine sample from the learner's present weights from then on."""
    engine.load(learner.weights(), learner.version)


def _learn(
    stage: Stage, learner: Trainable, draw: RolloutBatch, step: int, seed: int, sink: Sink
) -> tuple[StepRecord | None, dict[str, float]]:
    """Makes all updates of one draw and returns what they measured; nothing where every group was dropped.

    Raises Interrupted where a stop was asked for before the first update.
    """
    rollouts = flatten(draw.groups)
    if not rollouts:
        return None, {}
    before = learner.version

    def told(name: str, done: int, total: int) -> None:
        sink.phase(name, done, total)
        if learner.version == before:
            raise_if_stopped()

    told("train", 0, len(rollouts))
    signals = prepare(stage, learner, draw.groups)
    of_policy = policy_metrics(stage, before, rollouts, signals)
    record, metrics = update(stage, learner, draw.groups, signals, step, seed, told)
    if learner.policy and stage.algorithm.refreshes_reference(step + 1):
        learner.policy.refresh_reference()
    return record, length_metrics(rollouts) | of_policy | metrics
