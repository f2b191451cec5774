"""This module is the surrogate: what one token adds to the objective J, before weights. Maximised.

Here each token stands by itself; sequences.py has those that speak of whole completions, regularised.py RPG's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from groupwise.algorithm.signals import Signals


class Surrogate(NamedTuple):
    """A surrogate is per-token terms of J, and where the trust region holds them flat."""

    terms: Tensor  # [B, T] with gradient
    ratio: Tensor  # [B, T] π_θ / π_old, without gradient
    clipped: Tensor  # [B, T] int8: +1 clipped above, -1 clipped below, 0 free


@runtime_checkable
class Objective(Protocol):
    """An objective is the slot of the surrogate."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the surrogate of prepared signals. ``logprobs`` ``[B, T]`` carry the gradient;
        ``signals.old_logprobs`` are there, carry none, and on-policy equal ``logprobs`` in value. What is masked is 0
        in both."""
        ...

    def formula(self) -> str:
        """Returns one token's term as its paper writes it, with the numbers in force."""
        ...

    def needs(self) -> frozenset[str]:
        """Names the log-probabilities without which it cannot be computed."""
        return frozenset({"old_logprobs"})

    def joins_group(self) -> bool:
        """Says whether the rows of a group must be seen together."""
        return False

    def reads(self) -> Literal["logprobs", "scores"]:
        """Says what stands in ``logprobs``: log-probabilities of a policy, or a scorer's number at each token."""
        return "logprobs"

    def learns_from(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]`` bool: the tokens whose terms are part of J; by default all that the policy sampled."""
        return signals.mask

    def measures(self, logprobs: Tensor, signals: Signals) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Returns metrics of its own by their names: a sum, and what it is divided by. Without gradient."""
        return {}


@dataclass(frozen=True)
class LogLikelihood(Objective):
    """This objective is A_t · log π_θ(o_t): likelihood of demonstrations with A = 1 (SFT), REINFORCE with any other
    advantage."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the terms ``A log π_θ`` ``[B, T]``, none of them held."""
        ratio = ratio_of(logprobs.detach(), signals)
        return Surrogate(advantages_of(signals) * logprobs, ratio, free(logprobs))

    def formula(self) -> str:
        return "A log π_θ"

    def needs(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class ClippedRatio(Objective):
    """This objective is min( r A, clip(r, 1 - low, 1 + high) A ), r = π_θ / π_old (PPO; DeepSeekMath eq. 1 and 3).

    The clip is one-sided for each sign of A: it stops reinforcing beyond 1 + high and suppressing below 1 - low, and
    always lets the ratio come back. A token with A < 0 and r = 5 is not clipped, unless dual or ceiling says so.
    """

    low: Annotated[float, "[0, inf)"] = 0.2
    """ε below: r is held at 1 - low where A < 0."""
    high: Annotated[float, "[0, inf)"] = 0.2
    """ε above: r is held at 1 + high where A > 0."""
    dual: Annotated[float, "[0, inf)"] = 0.0
    """c of dual clip (arXiv 1912.09729): where A < 0 the term is at least c A, so a huge r has no gradient. 0: off."""
    ceiling: Annotated[float, "[0, inf)"] = 0.0
    """δ of two-sided clip (INTELLECT-2): r itself is held at δ, which matters where A < 0. 0: off."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the clipped terms ``[B, T]``, the ratio and which tokens are held (PPO, arXiv 1707.06347, eq. 7)."""
        advantages, ratio = advantages_of(signals), ratio_of(logprobs, signals)  # [B, T]
        most = min((bound for bound in (self.dual, self.ceiling) if bound), default=math.inf)
        terms = torch.minimum(ratio.clamp(max=self.ceiling or math.inf) * advantages, self._bounded(ratio) * advantages)
        if self.dual:
            terms = torch.where(advantages < 0, torch.maximum(terms, self.dual * advantages), terms)
        above = ((advantages > 0) & (ratio > 1 + self.high)) | ((advantages < 0) & (ratio > max(most, 1 - self.low)))
        below = (advantages < 0) & (ratio < 1 - self.low)
        return Surrogate(terms, ratio.detach(), sides(above, below, signals))

    def _bounded(self, ratio: Tensor) -> Tensor:
        return ratio.clamp(1 - self.low, 1 + self.high)

    def formula(self) -> str:
        held = f"clip(r, {1 - self.low:g}, {1 + self.high:g}) A"
        inner = f"min( {f'min(r, {self.ceiling:g})' if self.ceiling else 'r'} A, {held} )"
        return f"{inner}, at least {self.dual:g} A where A < 0" if self.dual else inner


@dataclass(frozen=True)
class ClippedWeight(Objective):
    """This objective is sg( clip(r, 1 - low, 1 + high) ) A log π_θ: the weight is held, every token keeps a gradient
    (CISPO, MiniMax-M1, arXiv 2506.13585)."""

    low: Annotated[float, "[0, inf)"] = 1.0
    """ε below. 1: no lower bound, as in the paper's practice."""
    high: Annotated[float, "[0, inf)"] = 0.28
    """ε above; TRL's epsilon_high for CISPO is the cap 1 + high itself."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the terms ``[B, T]`` with a clipped ratio as their weight, and which tokens are held at a bound."""
        ratio = ratio_of(logprobs.detach(), signals)
        held = ratio.clamp(1 - self.low, 1 + self.high)
        terms = held * advantages_of(signals) * logprobs
        return Surrogate(terms, ratio, sides(ratio > 1 + self.high, ratio < 1 - self.low, signals))

    def formula(self) -> str:
        bounds = f"min(r, {1 + self.high:g})" if self.low >= 1 else f"clip(r, {1 - self.low:g}, {1 + self.high:g})"
        return f"sg({bounds}) A log π_θ"


@dataclass(frozen=True)
class SoftGate(Objective):
    """This objective is f(r) A with f(r) = σ(τ (r - 1)) · 4/τ: the trust region fades instead of ending (SAPO, arXiv
    2511.20347).

    The gradient's weight is sech²(τ (r - 1) / 2) r A: 1 · A on-policy, whatever τ. f(1) = 2/τ, so the value of J is not
    comparable with a ratio's.
    """

    positive: Annotated[float, "(0, inf)"] = 1.0
    """τ where A > 0."""
    negative: Annotated[float, "(0, inf)"] = 1.05
    """τ elsewhere: larger lets go of a suppressed token sooner."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the gated terms ``[B, T]``, of which none is held."""
        advantages, ratio = advantages_of(signals), ratio_of(logprobs, signals)
        tau = torch.where(advantages > 0, torch.full_like(advantages, self.positive), self.negative)
        gate = torch.sigmoid(tau * (ratio - 1)) * 4 / tau
        return Surrogate(gate * advantages, ratio.detach(), free(logprobs))

    def formula(self) -> str:
        return f"σ(τ (r - 1)) (4/τ) A,  τ = {self.positive:g} where A > 0, else {self.negative:g}"


def advantages_of(signals: Signals) -> Tensor:
    """Returns the advantages that ``Algorithm.prepare`` has set."""
    assert signals.advantages is not None
    return signals.advantages


def old_of(signals: Signals) -> Tensor:
    """Returns the log-probabilities of the proximal anchor, which ``gradient_coefficient`` sets."""
    assert signals.old_logprobs is not None
    return signals.old_logprobs


def ratio_of(logprobs: Tensor, signals: Signals) -> Tensor:
    """Computes r = π_θ / π_old ``[B, T]``."""
    return (logprobs - old_of(signals)).exp()


def free(logprobs: Tensor) -> Tensor:
    """Says that no token is clipped."""
    return torch.zeros_like(logprobs, dtype=torch.int8)


def sides(above: Tensor, below: Tensor, signals: Signals) -> Tensor:
    """Says on which side each sampled token was clipped, ``[B, T]``: 1 above, -1 below, 0 neither."""
    return (above & signals.mask).to(torch.int8) - (below & signals.mask).to(torch.int8)
