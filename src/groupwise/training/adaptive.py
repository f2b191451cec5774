"""This module moves coefficients that follow what a run measures: the adaptive KL penalty and the adaptive entropy
bonus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from groupwise.algorithm import Algorithm
from groupwise.learning.record import StepRecord


@dataclass(frozen=True)
class Controls:
    """Controls say where the coefficients stand: part of what the next step depends on. None: as the recipe says."""

    kl: float | None = None
    entropy: float | None = None

    def applied(self, algorithm: Algorithm) -> Algorithm:
        """Returns the algorithm with the coefficients in force."""
        if self.kl is not None:
            algorithm = replace(algorithm, kl=replace(algorithm.kl, coefficient=self.kl))
        if self.entropy is not None:
            algorithm = replace(algorithm, entropy=replace(algorithm.entropy, coefficient=self.entropy))
        return algorithm

    def after(self, algorithm: Algorithm, record: StepRecord, metrics: Mapping[str, float]) -> Controls:
        """Returns those of the next step, given what this one measured under ``algorithm``, the one in force. They stay
        where nothing was learned from and so nothing measured."""
        kl, entropy = self.kl, self.entropy
        if "objective" not in metrics:
            return self
        if algorithm.kl.target:
            kl = algorithm.kl.adapted(distance(record), len(record.signals.group))
        if algorithm.entropy.target:
            entropy = algorithm.entropy.adapted(metrics["entropy"])
        return Controls(kl, entropy)

    def metrics(self) -> dict[str, float]:
        """Returns the coefficients that move, as they will be at the next step."""
        named = {"kl_coefficient": self.kl, "entropy_coefficient": self.entropy}
        return {name: value for name, value in named.items() if value is not None}


def distance(record: StepRecord) -> float:
    """Returns nats a completion between policy and reference: the mean over completions of Σ_t log
    π_θ(o_t)/π_ref(o_t)."""
    signals = record.signals
    if signals.reference_logprobs is None:
        raise ValueError("an adaptive KL coefficient needs reference_logprobs")
    gap = torch.where(signals.mask, record.logprobs.double() - signals.reference_logprobs, 0.0)
    return float(gap.sum(dim=1).mean())
