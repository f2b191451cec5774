"""When sampler and learner give one token two probabilities: weights on the surrogate, constants for the gradient.

ρ_t = π_old(o_t) / π_behavior(o_t). The KL penalty is never weighted by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Correction(Protocol):
    """The slot: weights ``[B, T]``."""

    def weights(self, old_logprobs: Tensor, behavior_logprobs: Tensor | None, mask: Tensor) -> Tensor: ...


def _mismatch(old: Tensor, behavior: Tensor | None, mask: Tensor, unit: str) -> Tensor:
    """ρ ``[B, T]``: of the token, or of the whole sequence (the product over its tokens)."""
    if behavior is None:
        raise ValueError("a correction needs behavior_logprobs, the log-probabilities that the sampler reported")
    difference = torch.where(mask, old - behavior, 0.0)
    if unit == "sequence":
        difference = difference.sum(dim=1, keepdim=True).expand_as(difference)
    return difference.exp()


@dataclass(frozen=True)
class Uncorrected(Correction):
    """Weight 1: the engine that samples agrees with the learner to rounding."""

    def weights(self, old_logprobs: Tensor, behavior_logprobs: Tensor | None, mask: Tensor) -> Tensor:
        return torch.ones_like(old_logprobs)


@dataclass(frozen=True)
class TruncateMismatch(Correction):
    """min(ρ, cap): truncated importance sampling."""

    cap: float = 2.0
    """Largest weight."""
    unit: Literal["token", "sequence"] = "token"
    """Whose ratio: low variance and biased, or unbiased with a variance that grows with length."""

    def weights(self, old_logprobs: Tensor, behavior_logprobs: Tensor | None, mask: Tensor) -> Tensor:
        return _mismatch(old_logprobs, behavior_logprobs, mask, self.unit).clamp(max=self.cap)


@dataclass(frozen=True)
class RejectMismatch(Correction):
    """ρ where low <= ρ <= high, 0 elsewhere: masked importance sampling."""

    low: float = 0.5
    """Smallest ratio that is kept."""
    high: float = 2.0
    """Largest ratio that is kept."""
    unit: Literal["token", "sequence"] = "token"
    """Whose ratio."""

    def weights(self, old_logprobs: Tensor, behavior_logprobs: Tensor | None, mask: Tensor) -> Tensor:
        ratio = _mismatch(old_logprobs, behavior_logprobs, mask, self.unit)
        return torch.where((ratio >= self.low) & (ratio <= self.high), ratio, 0.0)
