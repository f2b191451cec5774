"""This module corrects for a sampler and a learner that give one token two probabilities: weights on the surrogate,
constants for the gradient.

ρ_t = π_old(o_t) / π_behavior(o_t). The KL penalty is never weighted by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from groupwise.algorithm.objectives import advantages_of, old_of
from groupwise.algorithm.signals import Signals


@runtime_checkable
class Correction(Protocol):
    """This is the slot: weights ``[B, T]``."""

    def weights(self, logprobs: Tensor, signals: Signals) -> Tensor:
        """Returns the weights of ``logprobs`` ``[B, T]`` without gradient, and prepared signals whose ``old_logprobs``
        are there."""
        ...

    def formula(self) -> str:
        """Writes what multiplies the surrogate; empty where nothing does."""
        ...

    def needs(self) -> frozenset[str]:
        """Names the log-probabilities without which it cannot be computed."""
        return frozenset({"old_logprobs", "behavior_logprobs"})


def _behavior(signals: Signals) -> Tensor:
    if signals.behavior_logprobs is None:
        raise ValueError("a correction needs behavior_logprobs, the log-probabilities that the sampler reported")
    return torch.where(signals.mask, signals.behavior_logprobs, 0.0)


def _sampled(signals: Signals) -> Tensor:
    """Returns ``[B, T]``: tokens that a sampler gave a probability; a demonstration has none, and so no mismatch."""
    if signals.demonstrated is None:
        return signals.mask
    return signals.mask & ~signals.demonstrated[:, None]


def _mismatch(signals: Signals, unit: str) -> Tensor:
    """Computes ρ ``[B, T]`` of the token, or of the whole sequence: the product or geometric mean over its tokens."""
    difference = torch.where(_sampled(signals), old_of(signals) - _behavior(signals), 0.0)
    if unit != "token":
        total = difference.sum(dim=1, keepdim=True)
        length = signals.mask.sum(dim=1, keepdim=True).clamp(min=1) if unit == "mean" else 1
        difference = (total / length).expand_as(difference)
    return difference.exp()


@dataclass(frozen=True)
class Uncorrected(Correction):
    """This correction is weight 1: the engine that samples agrees with the learner to rounding."""

    def weights(self, logprobs: Tensor, signals: Signals) -> Tensor:
        """Returns ones, ``[B, T]``: every token counts as it is."""
        return torch.ones_like(logprobs)

    def formula(self) -> str:
        return ""

    def needs(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class TruncateMismatch(Correction):
    """This correction is min(ρ, cap): truncated importance sampling."""

    cap: Annotated[float, "(0, inf)"] = 2.0
    """Largest weight."""
    unit: Literal["token", "sequence"] = "token"
    """Whose ratio: low variance and biased, or unbiased with a variance that grows with length."""

    def weights(self, logprobs: Tensor, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: the ratio of the old policy to the sampler, at most ``cap``."""
        return _mismatch(signals, self.unit).clamp(max=self.cap)

    def formula(self) -> str:
        return f"min(ρ_{self.unit}, {self.cap:g})"


@dataclass(frozen=True)
class RejectMismatch(Correction):
    """This correction is ρ where low <= ρ <= high, 0 elsewhere: masked importance sampling."""

    low: Annotated[float, "[0, inf)"] = 0.5
    """Smallest ratio that is kept."""
    high: Annotated[float, "(0, inf)"] = 2.0
    """Largest ratio that is kept."""
    unit: Literal["token", "sequence"] = "token"
    """Whose ratio."""

    def weights(self, logprobs: Tensor, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: the ratio of the old policy to the sampler, 0 where it lies outside of the bounds."""
        ratio = _mismatch(signals, self.unit)
        return torch.where((ratio >= self.low) & (ratio <= self.high), ratio, 0.0)

    def formula(self) -> str:
        return f"ρ_{self.unit} if {self.low:g} ≤ ρ_{self.unit} ≤ {self.high:g} else 0,"


@dataclass(frozen=True)
class GeometricReject(Correction):
    """This correction is 1 where low <= exp(mean_t log ρ_t) <= high, 0 elsewhere: whole completions are left out, none
    is weighted."""

    low: Annotated[float, "[0, inf)"] = 0.999
    """Smallest geometric mean ratio that is kept."""
    high: Annotated[float, "(0, inf)"] = 1.001
    """Largest geometric mean ratio that is kept."""

    def weights(self, logprobs: Tensor, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: 1 for completions whose geometric mean of ratios lies within the bounds, 0 for others."""
        ratio = _mismatch(signals, "mean")
        return ((ratio >= self.low) & (ratio <= self.high)).to(logprobs.dtype)

    def formula(self) -> str:
        return f"1[ {self.low:g} ≤ (Π_t ρ_t)^(1/|o|) ≤ {self.high:g} ]"


@dataclass(frozen=True)
class OffPolicySequenceMask(Correction):
    """This correction is 0 for a completion with A < 0 that the policy has gone far from: mean_t log(π_behavior/π_θ) >
    delta (DeepSeek-V3.2, arXiv 2512.02556, section 3.1). 1 elsewhere."""

    delta: Annotated[float, "[0, inf)"] = 0.5
    """Nats a token. Unpublished; TRL's documentation suggests 0.5."""

    def weights(self, logprobs: Tensor, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: 0 for completions with a negative advantage that the policy has gone too far from, 1 for
        others."""
        mask = signals.mask
        gap = torch.where(_sampled(signals), _behavior(signals) - logprobs, 0.0)
        mean = gap.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        return 1 - ((mean > self.delta) & (advantages_of(signals) < 0)).to(logprobs.dtype)

    def formula(self) -> str:
        return f"(0 if A < 0 and mean_t log π_behavior/π_θ > {self.delta:g} else 1)"

    def needs(self) -> frozenset[str]:
        return frozenset({"behavior_logprobs"})
