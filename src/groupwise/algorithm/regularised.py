"""This module is RPG, regularised policy gradients (arXiv 2505.17508): E[R] - β D(π_θ, π_old) on samples of π_old, a
surrogate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from groupwise.algorithm.objectives import Objective, Surrogate, advantages_of, free, old_of, ratio_of, sides
from groupwise.algorithm.signals import Signals

Divergence = Literal["unnormalised-forward", "unnormalised-reverse", "forward", "reverse"]


@dataclass(frozen=True)
class RegularisedRatio(Objective):
    """This objective is w A minus a divergence from the sampling policy, w = π_θ/π_old. Its gradient is that of E[A] -
    β D exactly.

    ========================  ==========================  =================
    divergence                term                        coefficient
    ========================  ==========================  =================
    unnormalised-forward      w A - β (w - log w - 1)     w A - β (w - 1)
    unnormalised-reverse      w A - β (w log w - w)       w (A - β log w)
    forward                   w A + β log π_θ             w A + β
    reverse                   w A - β w log w             w (A - β (log w + 1))
    ========================  ==========================  =================
    """

    divergence: Divergence = "unnormalised-reverse"
    """D."""
    coefficient: Annotated[float, "[0, inf)"] = 1e-4
    """β."""
    low: Annotated[float, "[0, inf)"] = 0.0
    """With ``high``: ε below of the paper's clip, which takes A - β g(w) for the advantage. Both 0: no clip."""
    high: Annotated[float, "[0, inf)"] = 0.0
    """ε above."""
    dual: Annotated[float, "[0, inf)"] = 0.0
    """c of the paper's dual clip. 0: off."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the terms ``[B, T]``, the ratio and which tokens are held."""
        if self.low or self.high:
            return self._clipped(logprobs, signals)
        ratio, logs = ratio_of(logprobs, signals), logprobs - old_of(signals)
        penalty = {
            "unnormalised-forward": ratio - logs - 1,
            "unnormalised-reverse": ratio * logs - ratio,
            "forward": -logprobs,
            "reverse": ratio * logs,
        }[self.divergence]
        terms = ratio * advantages_of(signals) - self.coefficient * penalty
        return Surrogate(terms, ratio.detach(), free(logprobs))

    def _clipped(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        ratio = ratio_of(logprobs, signals)
        still, logs = ratio.detach(), ratio.detach().log()
        slope = {
            "unnormalised-forward": 1 - 1 / still,
            "unnormalised-reverse": logs,
            "forward": -1 / still,
            "reverse": logs + 1,
        }[self.divergence]
        advantages = advantages_of(signals) - self.coefficient * slope
        terms = torch.minimum(ratio * advantages, ratio.clamp(1 - self.low, 1 + self.high) * advantages)
        above, below = (advantages > 0) & (ratio > 1 + self.high), (advantages < 0) & (ratio < 1 - self.low)
        if self.dual:
            terms = torch.where(advantages < 0, torch.maximum(terms, self.dual * advantages), terms)
            above |= (advantages < 0) & (ratio > self.dual)
        return Surrogate(terms, still, sides(above, below, signals))

    def formula(self) -> str:
        beta = f"{self.coefficient:g}"
        if self.low or self.high:
            slopes = {
                "unnormalised-forward": "1 - 1/w",
                "unnormalised-reverse": "log w",
                "forward": "-1/w",
                "reverse": "log w + 1",
            }
            held = f"clip(w, {1 - self.low:g}, {1 + self.high:g})"
            dual = f", at least {self.dual:g} A' where A' < 0" if self.dual else ""
            return f"min( w A', {held} A' ){dual},  A' = A - {beta} sg({slopes[self.divergence]}),  w = π_θ/π_old"
        penalties = {
            "unnormalised-forward": f"w A - {beta} (w - log w - 1)",
            "unnormalised-reverse": f"w A - {beta} (w log w - w)",
            "forward": f"w A + {beta} log π_θ",
            "reverse": f"w A - {beta} w log w",
        }
        return f"{penalties[self.divergence]},  w = π_θ/π_old"
