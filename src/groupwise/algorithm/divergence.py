"""A trust region of divergences, where others clip a ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from groupwise.algorithm.objectives import Objective, Surrogate, advantages_of, old_of, sides
from groupwise.algorithm.signals import Signals


@dataclass(frozen=True)
class DivergenceMask(Objective):
    """M sg( min(w, cap) ) A log π_θ, w = π_θ / μ, μ the sampler (DPPO, arXiv 2602.04879).

    M = 0 for a token whose push would take its probability further away from the sampler's (A > 0 and π_θ > μ, or A < 0
    and π_θ < μ) where the two are more than δ apart already, else 1. What is apart is the sampled token against all
    others, the paper's binary form. Without a cap the gradient is that of M w A.

    A demonstration has no sampler; its μ is π_old.
    """

    divergence: Literal["tv", "kl"] = "tv"
    """How far apart they are: total variation \\|π_θ - μ\\|, or KL(μ‖π_θ) of the token against the rest."""
    low: Annotated[float, "[0, inf)"] = 0.15
    """δ where A < 0. The paper's script: 0.15 for total variation, 0.05 for KL."""
    high: Annotated[float, "[0, inf)"] = 0.15
    """δ where A > 0."""
    cap: Annotated[float, "[0, inf)"] = 0.0
    """Largest w; the paper finds that a small one biases against rare tokens. 0: off."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the terms ``[B, T]``, the ratio and which tokens are held. Raises ValueError without old
        log-probabilities."""
        advantages, sampler = advantages_of(signals), self._sampler(signals)
        now = logprobs.detach()
        ratio = (now - sampler).exp()
        apart = (now.exp() - sampler.exp()).abs() if self.divergence == "tv" else binary_kl(sampler, now)
        above = (advantages > 0) & (ratio > 1) & (apart > self.high)
        below = (advantages < 0) & (ratio < 1) & (apart > self.low)
        weight = torch.where(above | below, 0.0, ratio.clamp(max=self.cap or math.inf))
        capped = (ratio > self.cap) if self.cap else torch.zeros_like(above)
        return Surrogate(weight * advantages * logprobs, ratio, sides(above | (capped & ~below), below, signals))

    def _sampler(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]`` log μ, 0 where masked."""
        if signals.behavior_logprobs is None:
            raise ValueError("a divergence from the sampler needs behavior_logprobs, as the sampler reported them")
        drawn = signals.mask
        if signals.demonstrated is not None:
            drawn = drawn & ~signals.demonstrated[:, None]
        return torch.where(drawn, signals.behavior_logprobs, old_of(signals))

    def formula(self) -> str:
        weight = f"min(w, {self.cap:g})" if self.cap else "w"
        apart = "|π_θ - μ|" if self.divergence == "tv" else "KL(μ‖π_θ) of the token against the rest"
        delta = f"{self.high:g}" if self.low == self.high else f"{self.high:g} where A > 0, {self.low:g} where A < 0"
        return (
            f"M sg({weight}) A log π_θ,  w = π_θ/μ, μ the sampler,  D = {apart},  "
            f"M = 0 where A pushes π_θ further from μ and D > {delta}; else 1"
        )

    def needs(self) -> frozenset[str]:
        return frozenset({"old_logprobs", "behavior_logprobs"})


def binary_kl(first: Tensor, second: Tensor) -> Tensor:
    """Computes KL((p, 1 - p), (q, 1 - q)) of ``log p`` and ``log q``, 0 or less: infinite where q is 1 and p is not."""
    rest, other = -torch.expm1(first), -torch.expm1(second)  # 1 - p and 1 - q, exact also near 1
    return first.exp() * (first - second) + torch.where(rest > 0, rest * (rest.log() - other.log()), 0.0)
