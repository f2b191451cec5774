"""The penalty that keeps the policy near the reference: estimators from one sample, or exact; per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor


def k1(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Computes log π_θ/π_ref: unbiased in value, signed; as a loss its gradient is zero in expectation."""
    return logprobs - reference_logprobs


def k2(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Computes (log π_θ/π_ref)² / 2: biased in value; as an on-policy loss it has the gradient of KL(π_θ‖π_ref)."""
    return (logprobs - reference_logprobs).square() / 2


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Computes x - log x - 1 with x = π_ref/π_θ (DeepSeekMath eq. 4): never negative, 0 where the two agree.

    Unbiased in value on-policy. As an unweighted loss its gradient is that of the *forward* KL(π_ref‖π_θ).
    """
    difference = reference_logprobs - logprobs
    return torch.expm1(difference) - difference


_ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


@dataclass(frozen=True)
class KL:
    """This penalty is coefficient · KL to the reference policy, subtracted from every token's objective (DeepSeekMath
    eq. 3) or from its reward (eq. 2). 0 needs no reference at all."""

    coefficient: Annotated[float, "[0, inf)"] = 0.04
    """β."""
    estimator: Literal["k1", "k2", "k3", "exact"] = "k3"
    """DeepSeekMath's is k3 in the objective and k1 in PPO's reward; exact sums over the whole vocabulary."""
    weight: Literal["none", "live", "stopped"] = "none"
    """Importance weight π_θ/π_old on the estimate: none (GRPO as printed), live (carries gradient: with k3 the
    unbiased form of DeepSeek-V3.2 and RPG) or stopped."""
    place: Literal["objective", "reward", "advantage"] = "objective"
    """Where it is subtracted: from the objective; from the token rewards, before any baseline; or, summed over what is
    to come, from finished advantages (OpenRLHF). In the last two it is that of the policy that began the draw, and
    carries no gradient."""
    bound: Annotated[float, "[0, inf)"] = 0.0
    """The estimate is held within ± so many nats and has no gradient beyond (verl and OpenRLHF: 10). 0: nowhere."""
    target: Annotated[float, "[0, inf)"] = 0.0
    """Nats a completion that an adaptive coefficient steers to (Ziegler et al., arXiv 1909.08593). 0: fixed."""
    horizon: Annotated[float, "(0, inf)"] = 10_000.0
    """Completions over which the adaptive coefficient moves."""

    def penalty(self, logprobs: Tensor, old_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        """Returns ``[B, T]`` nats by a one-sample estimator, before the coefficient."""
        return self.weighted(self.estimate(logprobs, reference_logprobs), logprobs, old_logprobs)

    def estimate(self, logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
        """Returns ``[B, T]`` nats, without importance weight. Raises ValueError for exact, which no sample
        estimates."""
        if self.estimator == "exact":
            raise ValueError("the exact KL comes from the network (Outputs.exact_kl), not from sampled tokens")
        estimate = _ESTIMATORS[self.estimator](logprobs, reference_logprobs)
        return estimate.clamp(-self.bound, self.bound) if self.bound else estimate

    def weighted(self, estimate: Tensor, logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
        """Returns ``estimate`` times its importance weight."""
        if self.weight == "none":
            return estimate
        ratio = (logprobs - old_logprobs).exp()
        return estimate * (ratio if self.weight == "live" else ratio.detach())

    def adapted(self, nats: float, completions: int) -> float:
        """Returns the coefficient after a draw whose completions were ``nats`` from the reference on average:
        β (1 + clip(nats/target - 1, -0.2, 0.2) · completions/horizon)."""
        if not self.target:
            return self.coefficient
        error = min(max(nats / self.target - 1, -0.2), 0.2)
        return self.coefficient * (1 + error * completions / self.horizon)

    @property
    def in_objective(self) -> bool:
        """Says whether the KL stands in the objective, and not in the reward."""
        return bool(self.coefficient) and self.place == "objective"

    @property
    def in_reward(self) -> bool:
        """Says whether it is part of what the advantages are made of."""
        return bool(self.coefficient) and self.place != "objective"

    def formula(self) -> str:
        """Writes what is subtracted; empty where nothing is."""
        if not self.coefficient:
            return ""
        who = "π_old, π_ref" if self.in_reward else "π_θ, π_ref"
        named = "KL(π_θ‖π_ref)" if self.estimator == "exact" else f"{self.estimator}({who})"
        if self.bound and self.estimator != "exact":
            named = f"clip({named}, ±{self.bound:g})"
        if self.in_reward:
            return f"{self.coefficient:g} {named}"
        ratio = {"none": "", "live": "r ", "stopped": "sg(r) "}[self.weight]
        return f"{self.coefficient:g} {ratio}{named}"
