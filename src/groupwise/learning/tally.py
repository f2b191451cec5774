"""A tally says what learning from a batch saw, as a plain value whose parts can be added up, and gives the metrics of a
draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from groupwise.algorithm import Algorithm, Coefficients, Outputs, Signals, gradient_coefficient
from groupwise.learning.nonfinite import NonFiniteUpdate, refuse_bad
from groupwise.learning.record import BadNumber
from groupwise.learning.train_batch import TrainBatch, own_tokens
from groupwise.types import ANOTHER_POLICY


@dataclass(frozen=True, eq=False)
class Tally:
    """A tally holds sums over the rows of one accumulation. ``a + b`` is the tally of both, in that order; ``Tally()``
    adds nothing.

    It holds numbers and tensors alone, so that it can come from another process.
    """

    count: float = 0.0
    """What divides the gradient and J (``Σ Signals.counts``)."""
    tokens: float = 0.0
    """That the policy sampled."""
    own_tokens: float = 0.0
    """Of these, those that the policy which learns has drawn, as it is now."""
    sums: Mapping[str, float] = field(default_factory=dict)
    """By the metric's name, which is the sum divided by one of the three numbers above."""
    means: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By the metric's name, a sum and what divides it."""
    largest: Mapping[str, float] = field(default_factory=dict)
    """By the metric's name, the largest of its values."""
    rows: tuple[int, ...] = ()
    """The row number in the draw of each row of the tables."""
    logprobs: Tensor = field(default_factory=lambda: torch.zeros(0, 0))  # [rows, T] float32
    coefficients: Tensor = field(default_factory=lambda: torch.zeros(0, 0))  # [rows, T] float32, undivided
    entropy: Tensor | None = None  # [rows, T] float32, where it was computed
    bad: BadNumber | None = None
    """The first number that was not finite: the gradient is not to be used."""

    @staticmethod
    def counts(batch: TrainBatch) -> Tally:
        """Returns the denominators of a batch: a learner adds them once for each that it is given."""
        mask = batch.signals.mask
        return Tally(batch.count, float(mask.sum()), float(own_tokens(batch.signals).sum()))

    @staticmethod
    def total(tallies: Sequence[Tally]) -> Tally:
        """Returns all of them added up, in this order."""
        sums: dict[str, float] = {}
        means: dict[str, tuple[float, float]] = {}
        for tally in tallies:
            for name, value in tally.sums.items():
                sums[name] = sums.get(name, 0.0) + value
            for name, (value, count) in tally.means.items():
                before = means.get(name, (0.0, 0.0))
                means[name] = before[0] + value, before[1] + count
        largest: dict[str, float] = {}
        for tally in tallies:
            largest |= {name: max(value, largest.get(name, value)) for name, value in tally.largest.items()}
        some = [tally for tally in tallies if tally.rows]
        said = any(tally.entropy is not None for tally in some)
        entropies = [torch.zeros_like(tally.logprobs) if tally.entropy is None else tally.entropy for tally in some]
        return Tally(
            sum((tally.count for tally in tallies), 0.0),
            sum((tally.tokens for tally in tallies), 0.0),
            sum((tally.own_tokens for tally in tallies), 0.0),
            sums,
            means,
            largest,
            tuple(row for tally in tallies for row in tally.rows),
            _stacked([tally.logprobs for tally in some]),
            _stacked([tally.coefficients for tally in some]),
            _stacked(entropies) if said else None,
            next((tally.bad for tally in tallies if tally.bad), None),
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally.total([self, other])


def coefficients(batch: TrainBatch, algorithm: Algorithm, outputs: Outputs) -> tuple[Outputs, Tally]:
    """Computes the gradient coefficients ∂J/∂outputs of a batch's rows, undivided, and what was seen there.

    ``outputs`` are the network's, as wide as ``batch.signals``. The tally has none of ``Tally.counts``; where a number
    is not finite it has no sums, and says which.
    """
    signals = batch.signals
    found = gradient_coefficient(algorithm, signals, outputs)
    tally = Tally(
        rows=batch.rows,
        logprobs=outputs.logprobs.float(),
        coefficients=found.cotangent.logprobs.float(),
    )
    try:
        refuse_bad(signals, outputs, found)
    except NonFiniteUpdate as bad:
        return found.cotangent, replace(tally, bad=_located(bad.number, batch))
    measures, largest = {**algorithm.objective.measures(outputs.logprobs, signals)}, dict[str, float]()
    if signals.off_policy is not None and signals.off_policy.any() and not algorithm.trains_scorer:
        distances, largest = _distances(outputs.logprobs, batch, signals.off_policy)
        measures |= distances
    return found.cotangent, replace(
        tally,
        sums={name: 0.0 + float(value) for name, value in _sums(algorithm, signals, outputs, found)},
        means={name: (0.0 + float(total), 0.0 + float(count)) for name, (total, count) in measures.items()},
        largest=largest,
        entropy=None if outputs.entropy is None else outputs.entropy.float(),
    )


def _sums(
    algorithm: Algorithm, signals: Signals, outputs: Outputs, found: Coefficients
) -> Iterator[tuple[str, Tensor]]:
    """Returns what is summed over the tokens of a micro-batch, by the metric's name."""
    yield "objective", found.objective
    if outputs.values is not None and signals.returns is not None:
        error = (outputs.values - signals.returns).square() / 2
        counted = signals.mask & signals.scored[:, None]
        yield "value_loss", torch.where(counted, error, 0.0).sum()
        if signals.old_values is not None and algorithm.critic.clip:
            flat = algorithm.critic.clipped(outputs.values, signals.old_values, signals.returns)
            yield "value_clip_ratio", (flat & counted).sum()
    if algorithm.kl.coefficient:
        yield "kl", (found.kl * signals.mask).sum()
    if signals.behavior_logprobs is not None and not algorithm.trains_scorer:
        yield from mismatch(outputs.logprobs, signals.behavior_logprobs, own_tokens(signals)).items()
        yield "clip_ratio/low_mean", (found.clipped < 0).sum()
        yield "clip_ratio/high_mean", (found.clipped > 0).sum()
    if outputs.entropy is not None:
        yield "entropy", (outputs.entropy * signals.mask).sum()


def _located(bad: BadNumber, batch: TrainBatch) -> BadNumber:
    """Returns the same, by its row of the draw and with its example's name."""
    if bad.row is None:
        return bad
    return replace(bad, row=batch.rows[bad.row], example=batch.rollouts[bad.row].prompt.example.id)


def _stacked(tables: Sequence[Tensor]) -> Tensor:
    """Returns ``[rows, T]`` of all, filled up with zeros to the widest."""
    width = max((table.shape[1] for table in tables), default=0)
    stacked = torch.zeros(sum(len(table) for table in tables), width)
    start = 0
    for table in tables:
        stacked[start : start + len(table), : table.shape[1]] = table
        start += len(table)
    return stacked


def _distances(
    logprobs: Tensor, batch: TrainBatch, off_policy: Tensor
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, float]]:
    """Returns sum and number of tokens of how far the learner is from those whose completions it learns from, and the
    largest: from other policies, and from itself as it was when it drew (drift)."""
    behavior = batch.signals.behavior_logprobs
    assert behavior is not None
    mask = batch.signals.mask & off_policy
    foreign = torch.tensor([rollout.version == ANOTHER_POLICY for rollout in batch.rollouts])[:, None]
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    largest: dict[str, float] = {}
    for name, own in (("off_policy_kl", mask & foreign), ("policy_drift", mask & ~foreign)):
        if own.any():
            sums[name] = mismatch(logprobs, behavior, own)["engine_learner_kl"], own.sum()
            if name == "policy_drift":
                largest[f"{name}/max"] = float((logprobs.double() - behavior)[own].abs().max())
    return sums, largest


def mismatch(logprobs: Tensor, behavior_logprobs: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Sums over sampled tokens how far the learner is from the engine that sampled them.

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


@dataclass(frozen=True, eq=False)
class Update:
    """This is one optimiser update of a draw: what its batch saw, and what the step measured."""

    tally: Tally
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of ``Trainable.step``; none where there was no step."""
    bad: BadNumber | None = None
    """Why the update was left out."""
    is_empty: bool = False
    """Whether there was nothing to learn from, so that no step was made."""


def summary(every: Sequence[Update], rate: float) -> dict[str, float]:
    """Returns means over the updates of a draw; the gap between engine and learner only of the first, which is
    on-policy.

    Those that were left out are counted, by what was not finite, and those that had nothing to learn from.
    """
    skipped = Counter(update.bad.kind for update in every if update.bad)
    counts = {"skipped_updates": float(skipped.total())}
    counts |= {f"skipped_updates/{kind}": float(count) for kind, count in skipped.items()}
    if empty := sum(update.is_empty for update in every):
        counts["empty_updates"] = float(empty)
    updates = [update for update in every if not update.bad and not update.is_empty]
    return (_means(updates) if updates else {"learning_rate": rate}) | counts


def _means(updates: Sequence[Update]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    tallies = [update.tally for update in updates]
    for name in tallies[0].sums:
        if name.startswith("engine_learner_"):
            if tallies[0].own_tokens:
                metrics[name] = tallies[0].sums[name] / tallies[0].own_tokens
            continue
        per = [tally.sums[name] / (tally.count if name == "objective" else tally.tokens) for tally in tallies]
        metrics[name] = sum(per) / len(per)
    whole = Tally.total([Tally(means=tally.means, largest=tally.largest) for tally in tallies])
    metrics |= {name: total / max(count, 1e-12) for name, (total, count) in whole.means.items()}
    metrics |= whole.largest
    for name in updates[0].metrics:
        metrics[name] = sum(update.metrics[name] for update in updates) / len(updates)
    return metrics | {"loss": -metrics["objective"]}
