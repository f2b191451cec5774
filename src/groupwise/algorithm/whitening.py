"""This module normalises finished advantages over the whole draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from groupwise.algorithm.rounding import TOLERANCE, range_factor
from groupwise.algorithm.signals import Signals


@dataclass(frozen=True)
class Whitening:
    """This step computes (A - mean) / √(var + epsilon) over the draw (PPO, REINFORCE++). Exactly 0 where all advantages
    are equal but for rounding."""

    unit: Literal["none", "tokens", "sequences"] = "none"
    """Over what mean and variance go: nothing is whitened, all tokens (a long completion counts more), or completions,
    each with its mean advantage."""
    ddof: Annotated[int, "[0, 1]"] = 1
    """1: Bessel's correction; 0: population."""
    epsilon: Annotated[float, "[0, inf)"] = 1e-8
    """Added to the variance."""
    shift: bool = True
    """Whether the mean goes; without, the spread alone is normalised."""

    def whitened(self, advantages: Tensor, counted: Tensor) -> Tensor:
        """Returns ``[B, T]``; tokens that are not ``counted`` ``[B, T]`` stay out of the statistics and get 0."""
        if self.unit == "none" or not counted.any():
            return advantages
        exact, lengths = advantages.double(), counted.double().sum(dim=1)
        sample = exact[counted]
        if self.unit == "sequences":
            sample = ((exact * counted).sum(dim=1) / lengths.clamp(min=1))[lengths > 0]
        if _alike(sample) or len(sample) <= self.ddof:
            return torch.zeros_like(advantages) if self.shift else advantages
        factor = range_factor(sample, torch.ones_like(sample, dtype=torch.bool), torch.zeros_like(sample).long())[0]
        exact, sample, epsilon = exact * factor, sample * factor, self.epsilon * factor * factor
        scaled = (exact - sample.mean()) / (sample.var(correction=self.ddof) + epsilon).sqrt()
        kept = scaled if self.shift else scaled + sample.mean() / factor
        return torch.where(counted, kept, 0.0).to(advantages.dtype)

    def of(self, advantages: Tensor, signals: Signals, everyone: bool) -> Tensor:
        """Whitens over the tokens of scored rows; ``everyone``: of all rows, where nothing is scored."""
        return self.whitened(advantages, signals.mask & (signals.scored[:, None] | everyone))

    def formula(self) -> str:
        """Returns what it does as a formula; empty where nothing is whitened."""
        if self.unit == "none":
            return ""
        mean = "" if self.shift else " + mean(A)"
        return f"A ← (A - mean(A)) / √(var(A) + {self.epsilon:g}){mean} over all {self.unit}, ddof {self.ddof}"


def _alike(values: Tensor) -> bool:
    """Says whether they are equal but for rounding."""
    low, high = float(values.min()), float(values.max())
    return high - low <= TOLERANCE * max(abs(low), abs(high))
