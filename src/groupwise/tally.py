"""One optimiser update as a learner asks for it: coefficients of micro-batches, and what is measured on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from groupwise.algorithm import Algorithm, Coefficients, Outputs, Signals, gradient_coefficient
from groupwise.finite import NotFinite, refuse_bad
from groupwise.protocols import Learner
from groupwise.record import BadNumber
from groupwise.types import Rollout


class Tally:
    """The coefficients that a learner asks for, a micro-batch of one minibatch at a time, and what was seen there."""

    def __init__(
        self, algorithm: Algorithm, signals: Signals, on_rows: Callable[[int], None] = lambda rows: None
    ) -> None:
        assert signals.counts is not None
        self.algorithm, self.signals, self.on_rows = algorithm, signals, on_rows
        self.count = float(signals.counts.sum())
        self.tokens = float(signals.mask.sum())
        self.own_tokens = float(own_tokens(signals).sum())
        self.logprobs = torch.zeros(signals.mask.shape)
        self.coefficients = torch.zeros(signals.mask.shape)
        self.entropy: Tensor | None = None
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
        for name, value in self._sums(signals, outputs, found).items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        if outputs.entropy is not None:
            if self.entropy is None:
                self.entropy = torch.zeros(self.signals.mask.shape)
            self.entropy[index, :width] = outputs.entropy.float()
        measures = {**self.algorithm.objective.measures(outputs.logprobs, signals)}
        if signals.off_policy is not None and signals.off_policy.any() and not self.algorithm.trains_scorer:
            measures |= _distance(outputs.logprobs, signals, signals.off_policy)
        for name, (total, count) in measures.items():
            before = self.means.get(name, (0.0, 0.0))
            self.means[name] = before[0] + float(total), before[1] + float(count)
        self.on_rows(len(rows))
        return found.cotangent

    def _sums(self, signals: Signals, outputs: Outputs, found: Coefficients) -> dict[str, Tensor]:
        """What is summed over the tokens of a micro-batch, by the metric's name."""
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
            if self.own_tokens:
                sums |= mismatch(outputs.logprobs, signals.behavior_logprobs, own_tokens(signals))
            sums["clip_ratio/low_mean"] = (found.clipped < 0).sum()
            sums["clip_ratio/high_mean"] = (found.clipped > 0).sum()
        if outputs.entropy is not None:
            sums["entropy"] = (outputs.entropy * signals.mask).sum()
        return sums


def own_tokens(signals: Signals) -> Tensor:
    """``[B, T]`` bool: tokens that the policy which learns from them has drawn, as it is now. None of a demonstration,
    and none where nothing says whose completions these are."""
    if signals.off_policy is None or signals.demonstrated is None:
        return torch.zeros_like(signals.mask)
    return signals.mask & ~(signals.off_policy | signals.demonstrated)[:, None]


def _distance(logprobs: Tensor, signals: Signals, off_policy: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Sum and number of tokens of how far the learner is from other policies whose completions it learns from."""
    assert signals.behavior_logprobs is not None
    mask = signals.mask & off_policy[:, None]
    return {"off_policy_kl": (mismatch(logprobs, signals.behavior_logprobs, mask)["engine_learner_kl"], mask.sum())}


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
        if name.startswith("engine_learner_"):
            metrics[name] = tallies[0].sums[name] / tallies[0].own_tokens
            continue
        per = [tally.sums[name] / (tally.count if name == "objective" else tally.tokens) for tally in tallies]
        metrics[name] = sum(per) / len(per)
    for name in tallies[0].means:
        totals, counts = zip(*(tally.means[name] for tally in tallies), strict=True)
        metrics[name] = sum(totals) / max(sum(counts), 1e-12)
    for name in tallies[0].metrics:
        metrics[name] = sum(tally.metrics[name] for tally in tallies) / len(tallies)
    return metrics | {"loss": -metrics["objective"]}
