"""The penalty that keeps the policy near the reference: estimators from one sample, per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """log π_θ/π_ref: unbiased in value, signed; as a loss its gradient is zero in expectation."""
    return logprobs - reference_logprobs


def k2(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """(log π_θ/π_ref)² / 2: biased in value; as an on-policy loss it has the gradient of KL(π_θ‖π_ref)."""
    return (logprobs - reference_logprobs).square() / 2


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """x - log x - 1 with x = π_ref/π_θ (DeepSeekMath eq. 4): never negative, 0 where the two agree.

    Unbiased in value on-policy. As an unweighted loss its gradient is that of the *forward* KL(π_ref‖π_θ).
    """
    difference = reference_logprobs - logprobs
    return torch.expm1(difference) - difference


_ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


@dataclass(frozen=True)
class KL:
    """coefficient · KL, subtracted from every token's objective (DeepSeekMath eq. 3). 0 needs no reference at all."""

    coefficient: float = 0.04
    """β."""
    estimator: Literal["k1", "k2", "k3"] = "k3"
    """DeepSeekMath's is k3."""
    weight: Literal["none", "live", "stopped"] = "none"
    """Importance weight π_θ/π_old on the estimate: none (GRPO as printed), live (carries gradient: with k3 the
    unbiased form of DeepSeek-V3.2 and RPG) or stopped."""

    def penalty(self, logprobs: Tensor, old_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        """``[B, T]`` nats, before the coefficient."""
        estimate = _ESTIMATORS[self.estimator](logprobs, reference_logprobs)
        if self.weight == "none":
            return estimate
        ratio = (logprobs - old_logprobs).exp()
        return estimate * (ratio if self.weight == "live" else ratio.detach())
