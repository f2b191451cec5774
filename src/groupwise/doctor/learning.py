"""These are alarms on the updates: jumps, clipped and masked shares, and rollouts that are not the policy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groupwise.doctor.history import WINDOW, Row, last_mean, robust_z, values
from groupwise.output.counting import counted


@dataclass(frozen=True)
class Outlier:
    """This alarm says that one step's number stands far out of the last ones. It is named once, where it happened."""

    metric: str
    knob: str
    factor: float = 10.0
    """Times the median of the last steps. Gradient norms are roughly log-normal; in four quickstarts of 660 steps the
    largest stood at 4.8 times."""
    deviations: float = 6.0
    """And so many robust standard deviations of their logarithms above it: a metric that always jumps does not."""
    window: int = 30
    least: int = 20
    """Steps before; fewer say nothing of what is usual."""

    @property
    def name(self) -> str:
        """Is the alarm's name, by its metric."""
        return f"jump of {self.metric}"

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says how far the newest number stands out; None where it does not."""
        if not rows or not (value := rows[-1].get(self.metric)) or value < 0:
            return None
        before = [each for each in values(rows[-1 - self.window : -1], self.metric) if each > 0]
        if len(before) < self.least:
            return None
        factor, deviations = robust_z(value, before)
        if factor <= self.factor or deviations <= self.deviations:
            return None
        return (
            f"{self.metric} is {value:.3g}, {factor:.0f} times the median of the last {counted(len(before), 'step')} "
            f"({deviations:.0f} robust standard deviations on a logarithmic scale); {self.knob}"
        )


GRADIENT = Outlier(
    "grad_norm",
    "it was scaled down to learner.max_grad_norm; where it comes again lower that or the learning rate, and look at "
    "the step's completions",
)
DISTANCE = Outlier(
    "kl", "the policy has left its reference in one step: lower the learning rate, or raise the KL's coefficient"
)


@dataclass(frozen=True)
class ClippedShare:
    """The objective's clip takes the gradient of many tokens: updates go further than it trusts."""

    name: str = "clipped tokens"
    most: float = 0.3
    """Share of trained tokens; runs that learn well clip some hundredths."""
    window: int = WINDOW

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says which share a clip holds, where it is large; None where it is not."""
        low, high = (last_mean(rows, f"clip_ratio/{side}_mean", self.window) for side in ("low", "high"))
        if low is None or high is None or low + high <= self.most:
            return None
        return (
            f"the clip removed the gradient of {low + high:.0%} of the tokens ({low:.0%} low, {high:.0%} high; more "
            f"than {self.most:.0%} over {self.window} steps); lower the learning rate, or take fewer minibatches or "
            "epochs a draw"
        )


@dataclass(frozen=True)
class MaskedShare:
    """This alarm says that many sampled tokens have no say: filtered as truncated or as too unlike what was sampled."""

    name: str = "masked tokens"
    most: float = 0.5
    """Share of sampled tokens: more than half of the sampling buys nothing."""
    window: int = WINDOW

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says which share is left out, where it is large; None where it is not."""
        share = last_mean(rows, "masked_ratio", self.window)
        if share is None or share <= self.most:
            return None
        return (
            f"{share:.0%} of the sampled tokens were left out of learning (more than {self.most:.0%} over "
            f"{self.window} steps); raise algorithm.source.max_completion_tokens where they are truncated, or loosen "
            "algorithm.correction"
        )


@dataclass(frozen=True)
class Mismatch:
    """This alarm says that sampler and learner disagree about log-probabilities of the same tokens under the same
    weights."""

    most: float
    """Nats a token. Rounding is 1e-6 in float32 and some hundredths in bfloat16."""
    name: str = "sampler and learner disagree"
    window: int = 3
    """Steps: this is no matter of chance."""

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says how far they disagree, where it is much; None where it is not."""
        gap = last_mean(rows, "engine_learner_gap", self.window)
        if gap is None or gap <= self.most:
            return None
        return (
            f"their log-probabilities of a token differ by {gap:.2g} on average (more than {self.most:g} over "
            f"{self.window} steps): what is learned is not what was sampled; look at what the engine noted at the "
            "start, take learner.dtype float32, or weigh it with algorithm.correction"
        )


@dataclass(frozen=True)
class Staleness:
    """Rollouts are older than the policy that learns from them."""

    most: float
    """Updates by which they are behind; more than those of one draw means that a whole draw was learned from since."""
    name: str = "stale rollouts"
    window: int = 3

    def sentence(self, rows: Sequence[Row]) -> str | None:
        """Says how old the weights are that sampled, where they are older than meant; None where they are not."""
        behind = last_mean(rows, "staleness", self.window)
        if behind is None or behind <= self.most:
            return None
        return (
            f"completions were sampled from weights {behind:.1f} updates behind (more than {self.most:g} over "
            f"{counted(self.window, 'step')}): sample from newer weights, or weigh it with algorithm.correction"
        )
