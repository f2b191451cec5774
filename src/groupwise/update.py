"""From a draw to optimiser updates: the algorithm's numbers are made here, and the network's gradient from them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from groupwise.algorithm import Algorithm, Outputs, Signals, gradient_coefficient
from groupwise.protocols import Learner
from groupwise.seeding import stable_seed
from groupwise.stage import Stage
from groupwise.types import DEMONSTRATED, Group, flatten


@dataclass(frozen=True)
class StepRecord:
    """What one step leaves behind, for the ledger and the report: numbers of the first pass over the draw."""

    step: int
    groups: Sequence[Group]
    signals: Signals
    logprobs: Tensor  # [B, T]
    coefficients: Tensor  # [B, T] ∂J/∂logprobs, every normaliser in it


def signals_of(groups: Sequence[Group]) -> Signals:
    """Ragged rollouts as ``[B, T]`` tensors, padded on the right with masked zeros."""
    rollouts = flatten(groups)
    shape = (len(rollouts), max(len(rollout.tokens) for rollout in rollouts))
    mask, rewarded = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    rewards, behavior = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    for row, rollout in enumerate(rollouts):
        length = len(rollout.tokens)
        mask[row, :length] = torch.tensor(rollout.mask)
        behavior[row, :length] = torch.tensor(rollout.behavior_logprobs, dtype=torch.float64)
        for index, reward in rollout.rewards.items():
            rewards[row, index], rewarded[row, index] = reward, True
    return Signals(
        mask=mask,
        group=torch.tensor([number for number, group in enumerate(groups) for _ in group.rollouts]),
        rewards=rewards,
        rewarded=rewarded,
        finished=torch.tensor([rollout.finished for rollout in rollouts]),
        behavior_logprobs=behavior if any(rollout.version != DEMONSTRATED for rollout in rollouts) else None,
    )


def prepare(stage: Stage, learner: Learner, groups: Sequence[Group]) -> Signals:
    """The numbers of a draw, with the log-probabilities that the algorithm needs, advantages and weights.

    With one update a draw π_old is π_θ itself and needs no forward pass of its own.
    """
    rollouts, temperature = flatten(groups), stage.algorithm.source.temperature
    signals = signals_of(groups)
    if stage.minibatches * stage.epochs > 1:
        signals = replace(signals, old_logprobs=learner.logprobs(rollouts, temperature).double())
    if stage.algorithm.kl.coefficient:
        reference = learner.logprobs(rollouts, temperature, reference=True)
        signals = replace(signals, reference_logprobs=reference.double())
    return stage.algorithm.prepare(signals)


def update(
    stage: Stage,
    learner: Learner,
    groups: Sequence[Group],
    signals: Signals,
    step: int,
    seed: int,
    on_phase: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> tuple[StepRecord, dict[str, float]]:
    """All optimiser updates of one draw, and their metrics. ``on_phase("train", rows done, rows in all)``."""
    rollouts, temperature = flatten(groups), stage.algorithm.source.temperature
    record = StepRecord(step + 1, groups, signals, *(torch.zeros(signals.mask.shape) for _ in range(2)))
    tallies: list[Tally] = []
    heard = 0

    def hear(rows: int) -> None:
        nonlocal heard
        heard += rows
        on_phase("train", heard, len(rollouts) * stage.epochs)

    for epoch in range(stage.epochs):
        order = random.Random(stable_seed(seed, stage.name, "minibatches", step, epoch))
        for rows in minibatches(signals.group.tolist(), stage.minibatches, order):
            tally = Tally(stage.algorithm, signals.rows(torch.tensor(rows)), hear)
            learner.accumulate([rollouts[row] for row in rows], temperature, tally)
            tally.metrics |= learner.step(tally.count, stage.learning_rate_at(step))
            tallies.append(tally)
            if epoch == 0:
                record.logprobs[rows], record.coefficients[rows] = tally.logprobs, tally.coefficients / tally.count
    return record, summary(tallies)


def minibatches(group: Sequence[int], parts: int, order: random.Random) -> list[list[int]]:
    """Row numbers in at most ``parts`` minibatches of whole groups, shuffled where there is more than one."""
    numbers = sorted(set(group))
    if parts > 1:
        order.shuffle(numbers)
    shares = [set(numbers[len(numbers) * i // parts : len(numbers) * (i + 1) // parts]) for i in range(parts)]
    return [[row for row, number in enumerate(group) if number in share] for share in shares if share]


class Tally:
    """The coefficients that a learner asks for, a micro-batch of one minibatch at a time, and what was seen there."""

    def __init__(
        self, algorithm: Algorithm, signals: Signals, on_rows: Callable[[int], None] = lambda rows: None
    ) -> None:
        assert signals.counts is not None
        self.algorithm, self.signals, self.on_rows = algorithm, signals, on_rows
        self.count = float(signals.counts.sum())
        self.tokens = float(signals.mask.sum())
        self.logprobs = torch.zeros(signals.mask.shape)
        self.coefficients = torch.zeros(signals.mask.shape)
        self.sums: dict[str, float] = {}
        self.metrics: dict[str, float] = {}

    def __call__(self, rows: Sequence[int], outputs: Outputs) -> Outputs:
        """``protocols.CoefficientFunction``."""
        index, width = torch.tensor(rows), outputs.logprobs.shape[1]
        signals = self.signals.rows(index, width)
        found = gradient_coefficient(self.algorithm, signals, outputs)
        self.logprobs[index, :width] = outputs.logprobs.float()
        self.coefficients[index, :width] = found.cotangent.logprobs.float()
        sums = {"objective": found.objective}
        if self.algorithm.kl.coefficient:
            sums["kl"] = (found.kl * signals.mask).sum()
        if signals.behavior_logprobs is not None:
            gap = torch.where(signals.mask, (outputs.logprobs - signals.behavior_logprobs).abs(), 0.0)
            sums["engine_learner_gap"] = gap.sum()
            sums["clip_ratio/low_mean"] = (found.clipped < 0).sum()
            sums["clip_ratio/high_mean"] = (found.clipped > 0).sum()
        if outputs.entropy is not None:
            sums["entropy"] = (outputs.entropy * signals.mask).sum()
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.on_rows(len(rows))
        return found.cotangent


def summary(tallies: Sequence[Tally]) -> dict[str, float]:
    """Means over the updates of a draw; the gap between engine and learner only of the first, which is on-policy."""
    metrics: dict[str, float] = {}
    for name in tallies[0].sums:
        per = [tally.sums[name] / (tally.count if name == "objective" else tally.tokens) for tally in tallies]
        metrics[name] = per[0] if name == "engine_learner_gap" else sum(per) / len(per)
    for name in tallies[0].metrics:
        metrics[name] = sum(tally.metrics[name] for tally in tallies) / len(tallies)
    return metrics | {
        "loss": -metrics["objective"],
        "skipped_updates": sum(tally.metrics["skipped_updates"] for tally in tallies),
    }
