"""The one loop: SFT, RFT, DPO, PPO and GRPO go through these lines.

draw → prepare → for each minibatch: forward, coefficient, backward, step → record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from groupwise.algorithm import Signals
from groupwise.controls import Controls
from groupwise.protocols import RolloutEngine, Sink
from groupwise.sources import Draw, DrawContext, Position
from groupwise.sources.world import after_prompts
from groupwise.stage import Stage
from groupwise.stopping import given_up_at_once, heed
from groupwise.trainable import Trainable
from groupwise.types import ANOTHER_POLICY, DEMONSTRATED, Rollout, flatten
from groupwise.update import StepRecord, prepare, update


@dataclass(frozen=True)
class Progress:
    """Where a stage stands: with weights and optimizer, all that the next step depends on."""

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
        return Controls(self.kl_coefficient, self.entropy_coefficient)

    def plain(self) -> dict[str, Any]:
        """As a checkpoint says it."""
        return vars(self) | {"position": dict(self.position)}

    @staticmethod
    def of(saved: Mapping[str, Any]) -> Progress:
        """What a checkpoint says of it. Older ones have a number in place of the position, ``cursor``: that of the
        prompts taken."""
        values = dict(saved)
        cursor = values.pop("cursor", None)
        return Progress(**values if cursor is None else values | {"position": after_prompts(cursor)})


AfterStep = Callable[[Progress, StepRecord | None], dict[str, float]]
Checkpoint = Callable[[Progress], None]


def train(
    stage: Stage,
    world: DrawContext,
    learner: Trainable,
    sink: Sink,
    progress: Progress,
    after_step: AfterStep,
    checkpoint: Checkpoint = lambda progress: None,
) -> Progress:
    """Runs a stage from ``progress`` to its end. ``after_step`` keeps records and may add metrics.

    ``checkpoint`` comes when the step's numbers are out: whoever continues from it has lost none of them.
    """
    started, serve = time.perf_counter(), partial(load_newest, world.engine, learner)
    for step in range(progress.step, stage.steps):
        controls = progress.controls
        now = replace(stage, algorithm=controls.applied(stage.algorithm))
        with given_up_at_once():
            draw = now.algorithm.source.draw(world.at(step, progress.position, serve), progress.position)
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
        progress = Progress(step + 1, draw.position, learned_from, controls.kl, controls.entropy, skipped)
        metrics |= after_step(progress, record) | {"num_tokens": float(progress.num_tokens)}
        metrics |= time_metrics(draw, tokens, drawn - started, trained - drawn, time.perf_counter() - trained)
        started = time.perf_counter()
        sink.metrics(stage.name, step + 1, metrics)
        checkpoint(progress)
    return progress


def load_newest(engine: RolloutEngine, learner: Trainable) -> None:
    """The engine samples from the learner's present weights from then on."""
    engine.load(learner.weights(), learner.version)


def _learn(
    stage: Stage, learner: Trainable, draw: Draw, step: int, seed: int, sink: Sink
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
    if learner.policy and stage.algorithm.refreshes_reference(step + 1):
        learner.policy.refresh_reference()
    return record, length_metrics(rollouts) | of_policy | metrics


def length_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Completion lengths in tokens, and of sampled ones the share that was truncated."""
    lengths = [sum(rollout.mask) for rollout in rollouts]
    metrics = {
        "completions/mean_length": sum(lengths) / len(lengths),
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
    }
    if any(rollout.version != DEMONSTRATED for rollout in rollouts):
        metrics["completions/clipped_ratio"] = sum(not rollout.finished for rollout in rollouts) / len(rollouts)
    return metrics


def policy_metrics(stage: Stage, version: int, rollouts: Sequence[Rollout], signals: Signals) -> dict[str, float]:
    """Of completions that a policy sampled: whose they are and how old, how many repeat themselves, how much of them is
    left out of learning; of a scorer's nothing. ``version`` is that of the weights that will learn from them."""
    sampled = [rollout for rollout in rollouts if rollout.version != DEMONSTRATED]
    if stage.algorithm.trains_scorer or not sampled:
        return {}
    assert signals.learned is not None
    left_out = 1 - float(signals.learned.sum()) / max(float(signals.mask.sum()), 1.0)
    metrics = staleness(version, [rollout for rollout in sampled if rollout.version != ANOTHER_POLICY])
    foreign = sum(rollout.version != version for rollout in sampled) / len(sampled)
    if foreign:
        metrics["off_policy_ratio"] = foreign
    metrics["completions/repetitive_ratio"] = sum(repeats(rollout.tokens) for rollout in sampled) / len(sampled)
    return metrics | {"masked_ratio": left_out}


def staleness(version: int, rollouts: Sequence[Rollout]) -> dict[str, float]:
    """By how many updates tokens are behind the weights that learn from them: the oldest, and the mean of all."""
    if not rollouts:
        return {}
    behind = count = 0
    for rollout in rollouts:
        start = 0
        for drawn_by, end in rollout.spans:
            tokens = sum(rollout.mask[start:end])
            behind, count, start = behind + tokens * (version - drawn_by), count + tokens, end
    oldest = min(rollout.version for rollout in rollouts)
    return {"staleness": float(version - oldest), "staleness/mean": behind / max(count, 1)}


def repeats(tokens: Sequence[int]) -> bool:
    """Whether more than half of its 4-grams stood before in it; never of fewer than 16 tokens."""
    grams = list(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    return len(tokens) >= 16 and 2 * len(set(grams)) < len(grams)


def time_metrics(draw: Draw, tokens: int, drawing: float, training: float, after: float) -> dict[str, float]:
    """Where a step's seconds went, and tokens a second."""
    sampling = draw.seconds.get("sample", 0.0)
    metrics = {f"seconds/{name}": seconds for name, seconds in draw.seconds.items()}
    metrics |= {
        "seconds/train": training,
        "seconds/other": drawing - sum(draw.seconds.values()) + after,
        "step_time": drawing + training + after,
        "tokens_per_second/train": tokens / max(training, 1e-9),
    }
    if sampling:
        metrics["tokens_per_second/sample"] = draw.sampled_tokens / sampling
    return metrics
