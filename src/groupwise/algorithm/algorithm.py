"""The centre of the project: an algorithm is a gradient coefficient (DeepSeekMath, section 5).

∇J = E_(q,o)~D [ Σ_t w_t · GC(q, o, t) · ∇ log π(o_t | q, o_<t) ]

network     forward    tokens ─────────────▶ logprobs [B, T]
here                   logprobs, rewards ──▶ GC = ∂J/∂logprobs      autograd on a leaf, no network in sight
network     backward   torch.autograd.backward(logprobs, -GC)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from groupwise.algorithm.advantages import Advantage
from groupwise.algorithm.aggregation import Aggregation
from groupwise.algorithm.corrections import Correction, Uncorrected
from groupwise.algorithm.kl import KL
from groupwise.algorithm.objectives import Objective
from groupwise.algorithm.signals import Outputs, Signals


@runtime_checkable
class Source(Protocol):
    """Where the data comes from. The mathematics carries this slot and never opens it: see groupwise.sources."""

    @property
    def temperature(self) -> float:
        """Of every log-probability of this algorithm: logits are divided by it."""
        ...

    def draw(self, world: Any, cursor: int) -> Any:
        """The groups of one step."""
        ...


@dataclass(frozen=True)
class Algorithm:
    """One row of the unified table: a value for each slot. A new method is ``dataclasses.replace`` of an old one."""

    source: Source
    advantage: Advantage
    objective: Objective
    kl: KL
    aggregation: Aggregation
    correction: Correction = field(default_factory=Uncorrected)

    def prepare(self, signals: Signals) -> Signals:
        """Adds advantages, weights and counts. Takes a whole draw, since groups and batches have statistics."""
        weights, counts = self.aggregation.weights(signals.mask, signals.group)
        dtype = signals.rewards.dtype
        return replace(signals, advantages=self.advantage.advantages(signals), weights=weights.to(dtype), counts=counts)


class Coefficients(NamedTuple):
    """What ``gradient_coefficient`` found. Sums over rows: divide by ``Σ counts`` for J and its gradient."""

    objective: Tensor  # [] Σ weights · per-token objective
    cotangent: Outputs  # ∂(that sum)/∂outputs
    ratio: Tensor  # [B, T]
    clipped: Tensor  # [B, T] int8: +1 above, -1 below
    kl: Tensor  # [B, T] nats, before the coefficient; 0 where there is no penalty


def gradient_coefficient(algorithm: Algorithm, signals: Signals, outputs: Outputs) -> Coefficients:
    """GC = ∂J/∂outputs of prepared signals, for any subset of a draw's rows.

    J = Σ_{i,t} w_{i,t} [ ρ_{i,t} · surrogate_{i,t} - β · KL_{i,t} ]   (DeepSeekMath eq. 3, its weights in w)

    Masked tokens have no influence whatever their value. Raises ValueError where a slot needs log-probabilities that
    are not there.
    """
    mask = signals.mask
    if signals.advantages is None or signals.weights is None:
        raise ValueError("gradient_coefficient needs prepared signals: call Algorithm.prepare on the whole draw first")
    leaves = outputs.map(lambda tensor: tensor.detach().requires_grad_())
    logprobs = torch.where(mask, leaves.logprobs, 0.0)
    old = _known(signals.old_logprobs, mask, logprobs.detach())
    surrogate = algorithm.objective.surrogate(logprobs, old, signals.advantages, mask)
    terms = algorithm.correction.weights(old, signals.behavior_logprobs, mask) * surrogate.terms
    kl = torch.zeros_like(old)
    if algorithm.kl.coefficient:
        if signals.reference_logprobs is None:
            raise ValueError("a KL penalty needs reference_logprobs; KL(coefficient=0.0) does without")
        kl = algorithm.kl.penalty(logprobs, old, _known(signals.reference_logprobs, mask, old))
        terms = terms - algorithm.kl.coefficient * kl
    objective = (signals.weights * torch.where(mask, terms, 0.0)).sum()
    cotangent = leaves.map(lambda leaf: torch.autograd.grad(objective, leaf, retain_graph=True, allow_unused=True)[0])
    return Coefficients(objective.detach(), cotangent, surrogate.ratio, surrogate.clipped, kl.detach())


def _known(logprobs: Tensor | None, mask: Tensor, otherwise: Tensor) -> Tensor:
    """Log-probabilities without gradient, 0 where masked."""
    return otherwise if logprobs is None else torch.where(mask, logprobs, 0.0)
