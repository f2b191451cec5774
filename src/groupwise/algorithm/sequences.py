"""These are surrogates that speak of whole completions. Each token of a completion carries the completion's term, so
that with sequence-mean aggregation its weights 1/|o| add up to one term a completion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from groupwise.algorithm.objectives import Objective, Surrogate, advantages_of, free, old_of, sides
from groupwise.algorithm.signals import Signals, group_sum


def _row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Returns ``[B, 1]``, the mean over each row's tokens; 0 for an empty row."""
    return torch.where(mask, values, 0.0).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)


@dataclass(frozen=True)
class ClippedSequenceRatio(Objective):
    """This objective is min( s A, clip(s, 1 - low, 1 + high) A ), s_i = (π_θ(o_i) / π_old(o_i))^{1/|o_i|} (GSPO, arXiv
    2507.18071).

    ``gradient`` says through which probabilities the gradient goes: those of the whole sequence (GSPO: every token of a
    completion gets the same coefficient), or each token's own (GSPO-token, the same value, for advantages that differ
    from token to token).
    """

    low: Annotated[float, "[0, inf)"] = 3e-4
    """ε below: far smaller than a token's, since s is a geometric mean."""
    high: Annotated[float, "[0, inf)"] = 4e-4
    """ε above."""
    gradient: Literal["sequence", "token"] = "sequence"
    """Where the gradient goes."""
    length: Literal["mean", "sum"] = "mean"
    """mean: s is the geometric mean of the token ratios; sum: their product, the ratio of the two sequences."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the terms ``[B, T]`` with one clipped ratio a completion, that ratio, and which completions are
        held."""
        advantages, mask = advantages_of(signals), signals.mask
        gap = logprobs - old_of(signals)
        logs = _row_mean(gap, mask) * (1 if self.length == "mean" else mask.sum(dim=1, keepdim=True))
        if self.gradient == "token":
            logs = logs.detach() + logprobs - logprobs.detach()
        ratio = logs.exp().expand_as(gap)
        terms = torch.minimum(ratio * advantages, ratio.clamp(1 - self.low, 1 + self.high) * advantages)
        above, below = (advantages > 0) & (ratio > 1 + self.high), (advantages < 0) & (ratio < 1 - self.low)
        return Surrogate(terms, ratio.detach(), sides(above, below, signals))

    def formula(self) -> str:
        power = "^(1/|o_i|)" if self.length == "mean" else ""
        ratio = f"s_i = (π_θ(o_i)/π_old(o_i)){power}"
        if self.gradient == "token":
            ratio += ",  s_{i,t} = sg(s_i) π_θ(o_t)/sg(π_θ(o_t))"
        name = "s_i" if self.gradient == "sequence" else "s_{i,t}"
        return f"min( {name} A, clip({name}, {1 - self.low:g}, {1 + self.high:g}) A ),  {ratio}"


@dataclass(frozen=True)
class ClippedGeometricMean(Objective):
    """This objective is ρ_i A_i, ρ_i the geometric mean of the token ratios, each clipped in log space first (GMPO,
    arXiv 2507.20673)."""

    clip: Annotated[float, "[0, inf)"] = 0.4
    """c: log r is held at +c where A > 0 and at -c where A < 0."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the terms ``[B, T]`` of the geometric mean of clipped ratios, and which tokens are held."""
        advantages, mask = advantages_of(signals), signals.mask
        logs = logprobs - old_of(signals)
        held = torch.where(advantages > 0, logs.clamp(max=self.clip), logs)
        held = torch.where(advantages < 0, logs.clamp(min=-self.clip), held)
        mean = _row_mean(held, mask).exp()
        above, below = (advantages > 0) & (logs > self.clip), (advantages < 0) & (logs < -self.clip)
        return Surrogate(mean * advantages, mean.detach().expand_as(logs), sides(above, below, signals))

    def formula(self) -> str:
        low, high = math.exp(-self.clip), math.exp(self.clip)
        return (
            f"ρ_i A_i,  ρ_i = (Π_t r_t)^(1/|o_i|), r_t held below {high:.4g} where A > 0, above {low:.4g} where A < 0"
        )


@dataclass(frozen=True)
class GammaWeight(Objective):
    """sg( φ(W) ) A log π_θ, φ(W) = W^k exp(λ (1 - W)), W_i = π_θ(o_i) / π_old(o_i) the ratio of the whole completion
    (VESPO, arXiv 2602.10693): the kernel is 1 on-policy, and fades for completions that the policy has left or come
    to, without an edge and without dividing by length.

    Each sign of A has a k and a λ of its own. φ is largest at W = k/λ.
    """

    k_positive: Annotated[float, "[0, inf)"] = 2.0
    """k where A ≥ 0: a larger one lets go sooner of completions that became unlikely."""
    lam_positive: Annotated[float, "(0, inf)"] = 3.0
    """λ where A ≥ 0: a larger one holds back sooner what became likely."""
    k_negative: Annotated[float, "[0, inf)"] = 3.0
    """k where A < 0."""
    lam_negative: Annotated[float, "(0, inf)"] = 2.0
    """λ where A < 0."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns the terms ``[B, T]`` with one weight a completion, of which none is held."""
        advantages = advantages_of(signals)
        logs = torch.where(signals.mask, logprobs.detach() - old_of(signals), 0.0).sum(dim=1, keepdim=True)
        ratio, reinforced = logs.exp().expand_as(logprobs), advantages >= 0
        k = torch.where(reinforced, self.k_positive, self.k_negative)
        lam = torch.where(reinforced, self.lam_positive, self.lam_negative)
        kernel = (k * logs + lam * (1 - ratio)).exp()
        return Surrogate(kernel * advantages * logprobs, ratio, free(logprobs))

    def formula(self) -> str:
        return (
            "sg(φ(W_i)) A log π_θ,  φ(W) = W^k exp(λ (1 - W)),  W_i = π_θ(o_i)/π_old(o_i),  "
            f"k = {self.k_positive:g} and λ = {self.lam_positive:g} where A ≥ 0, "
            f"{self.k_negative:g} and {self.lam_negative:g} elsewhere"
        )


@dataclass(frozen=True)
class PreferenceMargin(Objective):
    """This objective is log σ( β (h(chosen) - h(rejected)) ), h(o) = log π_θ(o)/π_ref(o) summed over tokens (DPO, arXiv
    2305.18290) or averaged (DeepSeekMath, appendix A.1.3). Signs come from the advantages: +1 chosen, -1 rejected.

    With group-token-mean aggregation J is the mean over pairs.
    """

    coefficient: Annotated[float, "(0, inf)"] = 0.1
    """β: how far the policy may go from the reference for a preference."""
    length_normalised: bool = False
    """Whether each log-ratio is divided by its completion's length."""

    def surrogate(self, logprobs: Tensor, signals: Signals) -> Surrogate:
        """Returns ``[B, T]``: on each token of a pair the term of its margin. Raises ValueError without
        log-probabilities of the reference."""
        signed = self._of_rows(advantages_of(signals), logprobs, signals)
        margin = self.coefficient * group_sum(signed, signals.group)
        terms = logsigmoid(margin)[:, None].expand_as(logprobs)
        return Surrogate(terms, (logprobs - old_of(signals)).exp().detach(), free(logprobs))

    def _of_rows(self, signs: Tensor, logprobs: Tensor, signals: Signals) -> Tensor:
        """Computes ``[B]`` of ``signs`` ``[B, T]``: Σ_t sign_t log π_θ(o_t)/π_ref(o_t), or its mean over tokens."""
        if signals.reference_logprobs is None:
            raise ValueError("a preference margin needs reference_logprobs")
        gap = torch.where(signals.mask, logprobs - signals.reference_logprobs, 0.0)
        summed = (signs * gap).sum(dim=1)
        return summed / signals.mask.sum(dim=1).clamp(min=1) if self.length_normalised else summed

    def measures(self, logprobs: Tensor, signals: Signals) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Returns the implicit rewards β h(o) of chosen and rejected completions, their mean ``margin``, and the
        ``accuracy``: the share of pairs whose chosen completion has the larger one (ties are half right)."""
        rewards = self.coefficient * self._of_rows(torch.ones_like(logprobs), logprobs, signals)
        sign = torch.where(signals.mask, advantages_of(signals), 0.0).sum(dim=1).sign()
        chosen, rejected = sign > 0, sign < 0
        paired = (group_sum(chosen.double(), signals.group) > 0) & (group_sum(rejected.double(), signals.group) > 0)
        chosen, rejected = chosen & paired, rejected & paired
        margins = group_sum(rewards * sign, signals.group)[chosen]
        right = (margins > 0).double().sum() + (margins == 0).double().sum() / 2
        count = chosen.double().sum()
        return {
            "implicit_reward/chosen": (rewards[chosen].sum(), count),
            "implicit_reward/rejected": (rewards[rejected].sum(), rejected.double().sum()),
            "implicit_reward/margin": (margins.sum(), count),
            "implicit_reward/accuracy": (right, count),
        }

    def formula(self) -> str:
        of = "(1/|o|) Σ_t" if self.length_normalised else "Σ_t"
        return f"log σ( {self.coefficient:g} [h(chosen) - h(rejected)] ),  h(o) = {of} log π_θ(o_t)/π_ref(o_t)"

    def needs(self) -> frozenset[str]:
        return frozenset({"reference_logprobs"})

    def joins_group(self) -> bool:
        return True
