"""This module leads from a draw to optimiser updates: the algorithm's numbers are made here, and the network's gradient
from them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from groupwise.algorithm import Algorithm, Signals
from groupwise.errors import MicroBatchTooLarge, UserError
from groupwise.learning.collate import signals_of
from groupwise.learning.record import BadNumber, StepRecord
from groupwise.learning.tally import Tally, Update, summary
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Trainable
from groupwise.seeding import stable_seed
from groupwise.training.stage import NO_WEIGHT, Stage, updates_per_draw
from groupwise.types import DEMONSTRATED, Group, Rollout, flatten


def prepare(stage: Stage, learner: Trainable, groups: Sequence[Group]) -> Signals:
    """Makes the numbers of a draw, with the log-probabilities that the algorithm needs, advantages and weights.

    Whose tokens these are is decided by ``Rollout.spans``. Where the policy that learns drew them all, and makes one
    update of them, π_old is π_θ itself and needs no forward pass of its own, unless an advantage is made of it.
    Otherwise π_old is the learner's before its first update; but of tokens that another policy drew, where no
    correction compares the two, π_old is the sampler (DeepSeekMath eq. 1), so that the ratio is the importance weight.
    Advantages are made of the learner's in any case.

    Raises UserError for a label that is no probability, where a scorer learns from labels, and for completions of
    another policy where the algorithm has no importance weight for them.
    """
    algorithm, rollouts = stage.algorithm, flatten(groups)
    if algorithm.trains_scorer:
        _refuse_labels(stage, rollouts)
    temperature = algorithm.source.temperature
    signals = signals_of(groups, {reward.name: reward.weight for reward in stage.task.rewards})
    signals = replace(signals, off_policy=off_policy(rollouts, learner.version) & signals.mask)
    if not algorithm.trains_scorer and _needs_old(stage, signals):
        signals = replace(signals, old_logprobs=learner.logprobs(rollouts, temperature).double())
    policy = learner.policy
    if algorithm.reference.sees and not all(rollout.prompt.reference_tokens for rollout in rollouts):
        raise UserError(
            f"stage {stage.name}: reference.sees asks for a teacher who sees more than the policy, and what it reads "
            "was not kept with these completions; expected a source that makes its prompts in this stage, such as "
            "OnPolicy()"
        )
    if policy and algorithm.needs_reference_logprobs:
        reference = policy.logprobs(rollouts, temperature, reference=True)
        signals = replace(signals, reference_logprobs=reference.double())
    if policy and algorithm.critic.active:
        signals = replace(signals, old_values=policy.values(rollouts).double())
    prepared = algorithm.prepare(signals)
    return prepared if algorithm.has_anchor else _from_sampler(prepared)


def off_policy(rollouts: Sequence[Rollout], version: int) -> Tensor:
    """Returns ``[B, T]`` bool: tokens of completions that were sampled, and not by the weights of that version."""
    found = torch.zeros(len(rollouts), max(len(rollout.tokens) for rollout in rollouts), dtype=torch.bool)
    for row, rollout in enumerate(rollouts):
        start = 0
        for drawn_by, end in rollout.spans:
            if drawn_by not in (version, DEMONSTRATED):
                found[row, start:end] = True
            start = end
    return found


def _needs_old(stage: Stage, signals: Signals) -> bool:
    """Says whether π_old is not simply π_θ. Raises UserError where it would have no say, and other policies'
    completions no weight."""
    algorithm = stage.algorithm
    assert signals.off_policy is not None
    foreign = bool(signals.off_policy.any())
    if foreign and algorithm.needs_own_samples:
        rows = signals.off_policy.any(dim=1)
        raise UserError(
            f"stage {stage.name}: {int(rows.sum())} of {len(rows)} completions were drawn by another "
            f"policy than the one that learns from them; {NO_WEIGHT}"
        )
    weighted = algorithm.has_ratio or algorithm.has_anchor
    return updates_per_draw(stage) > 1 or algorithm.needs_old_first or (foreign and weighted)


def _from_sampler(signals: Signals) -> Signals:
    """Takes the sampler for π_old at the tokens that another policy drew."""
    if signals.old_logprobs is None or signals.behavior_logprobs is None or signals.off_policy is None:
        return signals
    old = torch.where(signals.off_policy, signals.behavior_logprobs, signals.old_logprobs)
    return replace(signals, old_logprobs=old)


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
    learner: Trainable,
    groups: Sequence[Group],
    signals: Signals,
    step: int,
    seed: int,
    on_phase: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> tuple[StepRecord, dict[str, float]]:
    """Makes all optimiser updates of one draw, and returns their metrics. ``on_phase("train", rows done, rows in
    all)``."""
    algorithm, rollouts = stage.algorithm, flatten(groups)
    rate = stage.learning_rate_at(step)
    record = StepRecord.empty(groups, signals, step, algorithm.objective.reads())
    draw, updates = TrainBatch.of(algorithm, rollouts, signals), list[Update]()
    entropy: Tensor | None = None
    done = 0

    def progress(rows: int) -> None:
        nonlocal done
        done = min(done + rows, len(rollouts) * stage.epochs)  # rows of a repeated step are heard twice
        on_phase("train", done, len(rollouts) * stage.epochs)

    for epoch in range(stage.epochs):
        order = random.Random(stable_seed(seed, stage.name, "minibatches", step, epoch))
        for places in minibatches(signals.group.tolist(), stage.minibatches, order):
            updates.append(made := _updated(learner, draw.part(places), algorithm, rate, progress))
            if made.bad:
                record.bad.append(made.bad)
            if epoch == 0:
                tally = made.tally
                rows, width = torch.tensor(tally.rows, dtype=torch.long), tally.logprobs.shape[1]
                record.logprobs[rows, :width] = tally.logprobs
                record.coefficients[rows, :width] = tally.coefficients / (tally.count or 1.0)
                if tally.entropy is not None:
                    entropy = torch.zeros(signals.mask.shape) if entropy is None else entropy
                    entropy[rows, :width] = tally.entropy
    return replace(record, entropy=entropy), summary(updates, rate)


def _updated(
    learner: Trainable, batch: TrainBatch, algorithm: Algorithm, rate: float, on_rows: Callable[[int], None]
) -> Update:
    """Makes one update with the gradient of these rows; makes none where a number is not finite, or nothing is learned
    from: the optimizer's momentum and decay would move the weights all the same."""
    if batch.is_empty:
        logprobs = learner.logprobs(batch.rollouts, batch.temperature).float()
        on_rows(len(batch.rows))
        seen = Tally(rows=batch.rows, logprobs=logprobs, coefficients=torch.zeros_like(logprobs))
        return Update(Tally.counts(batch) + seen, is_empty=True)
    tally = _accumulated(learner, batch, algorithm, on_rows)
    if tally.bad:
        learner.discard()
        return Update(tally, bad=tally.bad)
    metrics = learner.step(tally.count, rate, rate * algorithm.critic.learning_rate_factor)
    bad = BadNumber("gradient", metrics["grad_norm"]) if metrics["skipped_updates"] else None
    return Update(tally, metrics, bad)


def _accumulated(learner: Trainable, batch: TrainBatch, algorithm: Algorithm, on_rows: Callable[[int], None]) -> Tally:
    """Accumulates a batch, again from its beginning where its micro-batches were too large for the memory."""
    while True:
        try:
            return learner.accumulate(batch, algorithm, on_rows=on_rows)
        except MicroBatchTooLarge:
            continue


def minibatches(group: Sequence[int], parts: int, order: random.Random) -> list[list[int]]:
    """Returns row numbers in at most ``parts`` minibatches of whole groups, shuffled where there is more than one."""
    numbers = sorted(set(group))
    if parts > 1:
        order.shuffle(numbers)
    shares = [set(numbers[len(numbers) * i // parts : len(numbers) * (i + 1) // parts]) for i in range(parts)]
    return [[row for row, number in enumerate(group) if number in share] for share in shares if share]
