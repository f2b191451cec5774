"""From a draw to optimiser updates: the algorithm's numbers are made here, and the network's gradient from them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from groupwise.algorithm import Algorithm, Outputs, Signals, gradient_coefficient
from groupwise.errors import MicroBatchTooLarge, UserError
from groupwise.finite import BadNumber, NotFinite, refuse_bad
from groupwise.protocols import Learner
from groupwise.seeding import stable_seed
from groupwise.sources import OnPolicy
from groupwise.stage import Stage
from groupwise.types import DEMONSTRATED, Group, Rollout, flatten


@dataclass(frozen=True)
class StepRecord:
    """What one step leaves behind, for the ledger and the report: numbers of the first pass over the draw."""

    step: int
    groups: Sequence[Group]
    signals: Signals
    logprobs: Tensor  # [B, T]
    coefficients: Tensor  # [B, T] ∂J/∂logprobs, every normaliser in it
    reads: str = "logprobs"  # or scores, which then stand where log-probabilities do
    bad: list[BadNumber] = field(default_factory=list)  # why updates were left out, one for each

    @staticmethod
    def empty(stage: Stage, groups: Sequence[Group], signals: Signals, step: int) -> StepRecord:
        """Of the 0-based ``step``, before its first update."""
        logprobs, coefficients = torch.zeros(signals.mask.shape), torch.zeros(signals.mask.shape)
        return StepRecord(step + 1, groups, signals, logprobs, coefficients, stage.algorithm.objective.reads())


def signals_of(groups: Sequence[Group], weights: Mapping[str, float] | None = None) -> Signals:
    """Ragged rollouts as ``[B, T]`` tensors, padded on the right with masked zeros.

    ``weights`` are those of the task's rewards by name; with several, each one's own scores become ``parts``.
    """
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
    parts = _parts(rollouts, weights) if weights and len(weights) > 1 else {}
    return Signals(
        **parts,
        mask=mask,
        group=torch.tensor([number for number, group in enumerate(groups) for _ in group.rollouts]),
        greedy_rewards=_greedy(groups),
        rewards=rewards,
        rewarded=rewarded,
        finished=torch.tensor([rollout.finished for rollout in rollouts]),
        correct=torch.tensor([_verdict(rollout) for rollout in rollouts], dtype=torch.float64),
        demonstrated=torch.tensor([rollout.version == DEMONSTRATED for rollout in rollouts]),
        behavior_logprobs=behavior if any(rollout.version != DEMONSTRATED for rollout in rollouts) else None,
    )


def _verdict(rollout: Rollout) -> float:
    """1 right, 0 wrong; NaN where the judge gave none."""
    return float("nan") if rollout.correct is None else float(rollout.correct)


def _greedy(groups: Sequence[Group]) -> Tensor:
    """``[B]`` float64; NaN where a group's greedy completion has no reward, or there is none."""
    rewards = [group.greedy_reward for group in groups for _ in group.rollouts]
    return torch.tensor([float("nan") if reward is None else reward for reward in rewards], dtype=torch.float64)


def _parts(rollouts: Sequence[Rollout], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """``parts`` and ``part_weights`` ``[B, K]``; NaN where a reward gave no value."""
    rows = [[_value(rollout, name) for name in weights] for rollout in rollouts]
    parts = torch.tensor(rows, dtype=torch.float64)
    return {"parts": parts, "part_weights": torch.tensor([*weights.values()], dtype=torch.float64).expand_as(parts)}


def _value(rollout: Rollout, name: str) -> float:
    score = rollout.scores.get(name)
    return float("nan") if score is None or score.value is None else score.value


def prepare(stage: Stage, learner: Learner, groups: Sequence[Group]) -> Signals:
    """The numbers of a draw, with the log-probabilities that the algorithm needs, advantages and weights.

    With one update a draw π_old is π_θ itself and needs no forward pass of its own, unless an advantage is made of it.
    Raises UserError for a label that is no probability, where a scorer learns from labels.
    """
    algorithm, rollouts = stage.algorithm, flatten(groups)
    if algorithm.trains_scorer:
        _refuse_labels(stage, rollouts)
    temperature = algorithm.source.temperature
    signals = signals_of(groups, {reward.name: reward.weight for reward in stage.task.rewards})
    if not algorithm.trains_scorer and (stage.minibatches * stage.epochs > 1 or algorithm.needs_old_first):
        signals = replace(signals, old_logprobs=learner.logprobs(rollouts, temperature).double())
    if algorithm.needs_reference_logprobs:
        reference = learner.logprobs(rollouts, temperature, reference=True)
        signals = replace(signals, reference_logprobs=reference.double())
    if algorithm.critic.active:
        signals = replace(signals, old_values=learner.values(rollouts).double())
    return algorithm.prepare(signals)


def _refuse_labels(stage: Stage, rollouts: Sequence[Rollout]) -> None:
    if "step_rewards" not in stage.algorithm.objective.needs():
        return
    for rollout in rollouts:
        wrong = next((label for label in rollout.rewards.values() if not 0 <= label <= 1), None)
        if wrong is not None:
            raise UserError(
                f"{stage.name}: row {rollout.prompt.example.id} has the label {wrong:g}; expected 0 to 1, the chance "
                "that a step is right"
            )


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
    algorithm, rollouts = stage.algorithm, flatten(groups)
    rate = stage.learning_rate_at(step)
    record = StepRecord.empty(stage, groups, signals, step)
    tallies: list[Tally] = []
    heard = 0

    def hear(rows: int) -> None:
        nonlocal heard
        heard = min(heard + rows, len(rollouts) * stage.epochs)  # rows of a repeated step are heard twice
        on_phase("train", heard, len(rollouts) * stage.epochs)

    for epoch in range(stage.epochs):
        order = random.Random(stable_seed(seed, stage.name, "minibatches", step, epoch))
        for rows in minibatches(signals.group.tolist(), stage.minibatches, order):
            part, chosen = signals.rows(torch.tensor(rows)), [rollouts[row] for row in rows]
            tally = _learned(lambda part=part: Tally(algorithm, part, hear), learner, chosen, rate)  # type: ignore[misc]
            tallies.append(tally)
            if tally.bad:
                record.bad.append(located(tally.bad, rows, rollouts))
            if epoch == 0:
                record.logprobs[rows] = tally.logprobs
                record.coefficients[rows] = tally.coefficients / (tally.count or 1.0)
    return record, summary(tallies, rate)


def _learned(new: Callable[[], Tally], learner: Learner, rollouts: Sequence[Rollout], rate: float) -> Tally:
    """One update; from its beginning where its micro-batches were too large for the memory."""
    while True:
        tally = new()
        try:
            tally.learn(learner, rollouts, rate)
            return tally
        except MicroBatchTooLarge:
            continue


def located(bad: BadNumber, rows: Sequence[int], rollouts: Sequence[Rollout]) -> BadNumber:
    """The same, by its row of the draw and with its example's name; ``rows`` are those of its minibatch."""
    if bad.row is None:
        return bad
    row = rows[bad.row]
    return replace(bad, row=row, example=rollouts[row].prompt.example.id)


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
        self.means: dict[str, tuple[float, float]] = {}
        self.metrics: dict[str, float] = {}
        self.bad: BadNumber | None = None
        """Why the update was left out."""

    @property
    def empty(self) -> bool:
        """Whether no token is learned from: its gradient is 0 whatever the weights are, and nothing divides it."""
        assert self.signals.learned is not None
        return not (self.count and self.signals.learned.any())

    def learn(self, learner: Learner, rollouts: Sequence[Rollout], rate: float) -> None:
        """One update with the gradient of these rollouts; none where a number is not finite, or nothing is learned
        from: the optimizer's momentum and decay would move the weights all the same."""
        algorithm = self.algorithm
        if self.empty:
            said = learner.logprobs(rollouts, algorithm.source.temperature).float()
            self.logprobs[:, : said.shape[1]] = said
            self.on_rows(len(rollouts))
            return
        together = self.signals.group.tolist() if algorithm.objective.joins_group() else None
        try:
            learner.accumulate(rollouts, algorithm.source.temperature, self, algorithm.outputs, together)
        except NotFinite as found:
            learner.discard()
            self.bad = found.number
            return
        self.metrics |= learner.step(self.count, rate, rate * algorithm.critic.learning_rate_factor)
        if self.metrics["skipped_updates"]:
            self.bad = BadNumber("gradient", self.metrics["grad_norm"])

    def __call__(self, rows: Sequence[int], outputs: Outputs) -> Outputs:
        """``protocols.CoefficientFunction``."""
        index, width = torch.tensor(rows), outputs.logprobs.shape[1]
        signals = self.signals.rows(index, width)
        found = gradient_coefficient(self.algorithm, signals, outputs)
        self.logprobs[index, :width] = outputs.logprobs.float()
        self.coefficients[index, :width] = found.cotangent.logprobs.float()
        try:
            refuse_bad(signals, outputs, found)
        except NotFinite as bad:
            row = bad.number.row
            raise NotFinite(replace(bad.number, row=None if row is None else rows[row])) from None
        sums = {"objective": found.objective}
        if outputs.values is not None and signals.returns is not None:
            error = (outputs.values - signals.returns).square() / 2
            counted = signals.mask & signals.scored[:, None]
            sums["value_loss"] = torch.where(counted, error, 0.0).sum()
            if signals.old_values is not None and self.algorithm.critic.clip:
                flat = self.algorithm.critic.clipped(outputs.values, signals.old_values, signals.returns)
                sums["value_clip_ratio"] = (flat & counted).sum()
        if self.algorithm.kl.coefficient:
            sums["kl"] = (found.kl * signals.mask).sum()
        if signals.behavior_logprobs is not None and not self.algorithm.trains_scorer:
            if isinstance(self.algorithm.source, OnPolicy):
                sums |= mismatch(outputs.logprobs, signals.behavior_logprobs, signals.mask)
            sums["clip_ratio/low_mean"] = (found.clipped < 0).sum()
            sums["clip_ratio/high_mean"] = (found.clipped > 0).sum()
        if outputs.entropy is not None:
            sums["entropy"] = (outputs.entropy * signals.mask).sum()
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        for name, (total, count) in self.algorithm.objective.measures(outputs.logprobs, signals).items():
            before = self.means.get(name, (0.0, 0.0))
            self.means[name] = before[0] + float(total), before[1] + float(count)
        self.on_rows(len(rows))
        return found.cotangent


def mismatch(logprobs: Tensor, behavior_logprobs: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Sums over sampled tokens of how far the learner is from the engine that sampled them.

    With r = π_θ / π_sampler: abs(log r); r - 1 - log r, whose mean is KL(π_sampler‖π_θ); and (r - 1)², whose mean is
    chi² of the two, what importance weights would add to the variance. A mean absolute gap hides few large ones.
    """
    gap = torch.where(mask, logprobs.double() - behavior_logprobs, 0.0)
    over = torch.expm1(gap)
    return {
        "engine_learner_gap": gap.abs().sum(),
        "engine_learner_kl": (over - gap).sum(),
        "engine_learner_chi2": over.square().sum(),
    }


def summary(every: Sequence[Tally], rate: float) -> dict[str, float]:
    """Means over the updates of a draw; the gap between engine and learner only of the first, which is on-policy.

    Those that were left out are counted, by what was not finite, and those that had nothing to learn from.
    """
    skipped = Counter(tally.bad.kind for tally in every if tally.bad)
    counts = {"skipped_updates": float(skipped.total())}
    counts |= {f"skipped_updates/{kind}": float(count) for kind, count in skipped.items()}
    if empty := sum(tally.empty for tally in every):
        counts["empty_updates"] = float(empty)
    tallies = [tally for tally in every if not tally.bad and not tally.empty]
    return (_means(tallies) if tallies else {"learning_rate": rate}) | counts


def _means(tallies: Sequence[Tally]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for name in tallies[0].sums:
        per = [tally.sums[name] / (tally.count if name == "objective" else tally.tokens) for tally in tallies]
        metrics[name] = per[0] if name.startswith("engine_learner_") else sum(per) / len(per)
    for name in tallies[0].means:
        totals, counts = zip(*(tally.means[name] for tally in tallies), strict=True)
        metrics[name] = sum(totals) / max(sum(counts), 1e-12)
    for name in tallies[0].metrics:
        metrics[name] = sum(tally.metrics[name] for tally in tallies) / len(tallies)
    return metrics | {"loss": -metrics["objective"]}
