"""From a draw to optimiser updates: the algorithm's numbers are made here, and the network's gradient from them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from groupwise.algorithm import Signals
from groupwise.collate import signals_of
from groupwise.errors import MicroBatchTooLarge, UserError
from groupwise.protocols import Learner
from groupwise.record import BadNumber, StepRecord
from groupwise.seeding import stable_seed
from groupwise.stage import NO_WEIGHT, Stage, updates_per_draw
from groupwise.tally import Tally, summary
from groupwise.types import DEMONSTRATED, Group, Rollout, flatten


def prepare(stage: Stage, learner: Learner, groups: Sequence[Group]) -> Signals:
    """The numbers of a draw, with the log-probabilities that the algorithm needs, advantages and weights.

    Whose completions these are is decided by ``Rollout.version``. Where the policy that learns drew them all, and
    makes one update of them, π_old is π_θ itself and needs no forward pass of its own, unless an advantage is made of
    it. Otherwise π_old is the learner's before its first update; but of completions that another policy drew, where no
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
    signals = replace(signals, off_policy=off_policy(rollouts, learner.version))
    if not algorithm.trains_scorer and _needs_old(stage, signals):
        signals = replace(signals, old_logprobs=learner.logprobs(rollouts, temperature).double())
    if algorithm.needs_reference_logprobs:
        reference = learner.logprobs(rollouts, temperature, reference=True)
        signals = replace(signals, reference_logprobs=reference.double())
    if algorithm.critic.active:
        signals = replace(signals, old_values=learner.values(rollouts).double())
    prepared = algorithm.prepare(signals)
    return prepared if algorithm.has_anchor else _from_sampler(prepared)


def off_policy(rollouts: Sequence[Rollout], version: int) -> Tensor:
    """``[B]`` bool: completions that were sampled, and not by the weights of that version."""
    return torch.tensor([rollout.version not in (version, DEMONSTRATED) for rollout in rollouts])


def _needs_old(stage: Stage, signals: Signals) -> bool:
    """Whether π_old is not simply π_θ. Raises UserError where it would have no say, and other policies' completions no
    weight."""
    algorithm = stage.algorithm
    assert signals.off_policy is not None
    foreign = bool(signals.off_policy.any())
    if foreign and algorithm.needs_own_samples:
        raise UserError(
            f"stage {stage.name}: {int(signals.off_policy.sum())} of {len(signals.off_policy)} completions were drawn "
            f"by another policy than the one that learns from them; {NO_WEIGHT}"
        )
    weighted = algorithm.has_ratio or algorithm.has_anchor
    return updates_per_draw(stage) > 1 or algorithm.needs_old_first or (foreign and weighted)


def _from_sampler(signals: Signals) -> Signals:
    """π_old is the sampler where that was another policy."""
    if signals.old_logprobs is None or signals.behavior_logprobs is None or signals.off_policy is None:
        return signals
    old = torch.where(signals.off_policy[:, None], signals.behavior_logprobs, signals.old_logprobs)
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
    record = StepRecord.empty(groups, signals, step, algorithm.objective.reads())
    tallies: list[Tally] = []
    entropy: Tensor | None = None
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
                if tally.entropy is not None:
                    entropy = torch.zeros(signals.mask.shape) if entropy is None else entropy
                    entropy[rows] = tally.entropy
    return replace(record, entropy=entropy), summary(tallies, rate)


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
