"""The surrogate: what one token adds to the objective J, before weights. Maximised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Surrogate(NamedTuple):
    """Per-token terms of J, and where the trust region holds them flat."""

    terms: Tensor  # [B, T] with gradient
    ratio: Tensor  # [B, T] π_θ / π_old, without gradient
    clipped: Tensor  # [B, T] int8: +1 clipped above, -1 clipped below, 0 free


@runtime_checkable
class Objective(Protocol):
    """The slot. ``old_logprobs`` carries no gradient; on-policy it equals ``logprobs`` in value."""

    def surrogate(self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Surrogate: ...


@dataclass(frozen=True)
class LogLikelihood(Objective):
    """A_t · log π_θ(o_t): likelihood of demonstrations with A = 1 (SFT), REINFORCE with any other advantage."""

    def surrogate(self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Surrogate:
        ratio = (logprobs.detach() - old_logprobs).exp()
        return Surrogate(advantages * logprobs, ratio, torch.zeros_like(mask, dtype=torch.int8))


@dataclass(frozen=True)
class ClippedRatio(Objective):
    """min( r A, clip(r, 1 - low, 1 + high) A ), r = π_θ / π_old (PPO; DeepSeekMath eq. 1 and 3).

    The clip is one-sided for each sign of A: it stops reinforcing beyond 1 + high and suppressing below 1 - low, and
    always lets the ratio come back. A token with A < 0 and r = 5 is not clipped.
    """

    low: float = 0.2
    """ε below: r is held at 1 - low where A < 0."""
    high: float = 0.2
    """ε above: r is held at 1 + high where A > 0."""

    def surrogate(self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor) -> Surrogate:
        ratio = (logprobs - old_logprobs).exp()  # [B, T]
        bounded = ratio.clamp(1 - self.low, 1 + self.high)
        terms = torch.minimum(ratio * advantages, bounded * advantages)
        above = (advantages > 0) & (ratio > 1 + self.high) & mask
        below = (advantages < 0) & (ratio < 1 - self.low) & mask
        return Surrogate(terms, ratio.detach(), above.to(torch.int8) - below.to(torch.int8))
