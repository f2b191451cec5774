"""This module is the centre of the project: an algorithm is a gradient coefficient (DeepSeekMath, section 5).

∇J = E_(q,o)~D [ Σ_t w_t · GC(q, o, t) · ∇ log π(o_t | q, o_<t) ]

network     forward    tokens ─────────────▶ logprobs [B, T]
here                   logprobs, rewards ──▶ GC = ∂J/∂logprobs      autograd on a leaf, no network in sight
network     backward   torch.autograd.backward(logprobs, -GC)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from groupwise.algorithm.advantages import Advantage, to_go
from groupwise.algorithm.aggregation import Aggregation
from groupwise.algorithm.corrections import Correction, Uncorrected
from groupwise.algorithm.extras import Critic, Entropy, Reference
from groupwise.algorithm.kl import KL
from groupwise.algorithm.objectives import Objective
from groupwise.algorithm.signals import Outputs, Signals
from groupwise.algorithm.source import Source
from groupwise.algorithm.whitening import Whitening


@dataclass(frozen=True)
class Algorithm:
    """An algorithm is one row of the unified table: a value for each slot. A new method is ``dataclasses.replace`` of
    an old one."""

    source: Source
    advantage: Advantage
    objective: Objective
    kl: KL
    aggregation: Aggregation
    correction: Correction = field(default_factory=Uncorrected)
    whitening: Whitening = field(default_factory=Whitening)
    entropy: Entropy = field(default_factory=Entropy)
    critic: Critic = field(default_factory=Critic)
    reference: Reference = field(default_factory=Reference)
    truncated: Literal["learn", "mask"] = "learn"
    """Completions that did not finish: learned from, or masked out of the objective (DAPO's overlong filter) while
    their rewards still count in their group."""

    def prepare(self, signals: Signals) -> Signals:
        """Adds advantages, returns, weights and counts. Takes a whole draw: groups and batches have statistics."""
        dtype, mask = signals.rewards.dtype, signals.mask
        penalty = self._penalty_before(signals)
        if penalty is None:
            advantages = self.advantage.advantages(signals)
        elif self.kl.place == "reward":  # DeepSeekMath eq. 2
            advantages = self.advantage.advantages(replace(signals, rewards=signals.rewards - penalty))
        else:
            advantages = (self.advantage.advantages(signals) - to_go(penalty)) * mask
        returns = None if signals.old_values is None else advantages + torch.where(mask, signals.old_values, 0.0)
        advantages = self.whitening.of(advantages, signals, everyone=not self.advantage.judges())
        learned = self.objective.learns_from(signals) & mask
        if self.truncated == "mask":
            learned = learned & signals.finished[:, None]
        weights, counts = self.aggregation.weights(learned, signals.group)
        prepared = replace(signals, advantages=advantages, returns=returns, learned=learned)
        return replace(prepared, weights=weights.to(dtype), counts=counts)

    def _penalty_before(self, signals: Signals) -> Tensor | None:
        """Returns ``[B, T]`` β · KL of π_old, without gradient, where it is part of what advantages are made of."""
        if not self.kl.in_reward:
            return None
        if signals.old_logprobs is None or signals.reference_logprobs is None:
            raise ValueError("a KL penalty in the reward needs old_logprobs and reference_logprobs before the update")
        nats = torch.where(signals.mask, self.kl.estimate(signals.old_logprobs, signals.reference_logprobs), 0.0)
        return self.kl.coefficient * nats

    def needs(self) -> frozenset[str]:
        """Names all signals that its slots ask for."""
        found = self.advantage.needs() | self.objective.needs() | self.correction.needs()
        if self.kl.coefficient and self.kl.estimator != "exact":
            found |= {"reference_logprobs"}
        if self.kl.in_reward or (self.kl.coefficient and self.kl.weight != "none"):
            found |= {"old_logprobs"}
        return found | ({"values"} if self.critic.active else frozenset())

    @property
    def needs_verdicts(self) -> bool:
        """Says whether it must know which completions are right, beside their rewards."""
        return "correct" in self.needs() or self.source.asks_verdict()

    @property
    def trains_scorer(self) -> bool:
        """Says whether the network that learns is a scorer and no policy."""
        return self.objective.reads() == "scores"

    @property
    def needs_reference(self) -> bool:
        """Says whether there is a reference policy at all."""
        return bool(self.kl.coefficient or self.kl.target) or self.needs_reference_logprobs

    def refreshes_reference(self, steps: int) -> bool:
        """Says whether the present policy becomes the reference after so many steps."""
        every = self.reference.refresh_every
        return self.needs_reference and every > 0 and steps % every == 0

    @property
    def needs_reference_logprobs(self) -> bool:
        """Says whether the reference is asked about sampled tokens (an exact KL asks it about all)."""
        return "reference_logprobs" in self.needs()

    @property
    def needs_old_first(self) -> bool:
        """Says whether π_old must be known before the first update, not only from the second on."""
        return self.kl.in_reward or "old_logprobs" in self.advantage.needs()

    @property
    def has_anchor(self) -> bool:
        """Says whether the correction compares π_old with the sampler: then π_old is the learner's own before a draw's
        first update. Without one, the ratio to a sampler that is another policy is the whole importance weight."""
        return "old_logprobs" in self.correction.needs()

    @property
    def has_ratio(self) -> bool:
        """Says whether its objective has an importance ratio π_θ/π_old."""
        return "old_logprobs" in self.objective.needs()

    @property
    def needs_own_samples(self) -> bool:
        """Says whether its gradient is that of what the learning policy draws, with no importance weight for
        completions that another policy drew: neither a ratio nor a correction, no copying, and no pairs."""
        exempt = self.trains_scorer or self.advantage.copies() or self.objective.joins_group()
        return not (exempt or self.has_ratio or self.has_anchor)

    @property
    def outputs(self) -> frozenset[str]:
        """Says what the network must say with gradient beside log-probabilities."""
        exact = self.kl.in_objective and self.kl.estimator == "exact"
        wanted = {"exact_kl": exact, "entropy": self.entropy.active, "values": self.critic.active}
        return frozenset(name for name, asked in wanted.items() if asked)


class Coefficients(NamedTuple):
    """These sums over rows come from ``gradient_coefficient``: divide by ``Σ counts`` for J and its gradient."""

    objective: Tensor  # [] Σ weights · per-token objective
    cotangent: Outputs  # ∂(that sum)/∂outputs
    ratio: Tensor  # [B, T]
    clipped: Tensor  # [B, T] int8: +1 above, -1 below
    kl: Tensor  # [B, T] nats, before the coefficient; 0 where there is no penalty


def gradient_coefficient(algorithm: Algorithm, signals: Signals, outputs: Outputs) -> Coefficients:
    """Computes GC = ∂J/∂outputs of prepared signals, for any subset of a draw's rows.

    J = Σ_{i,t} w_{i,t} [ ρ_{i,t} · surrogate_{i,t} - β · KL_{i,t} + α · H_{i,t} - value loss_{i,t} ]   (DeepSeekMath
    eq. 3, its weights in w)

    Masked tokens have no influence whatever their value. Raises ValueError where a slot needs log-probabilities that
    are not there.
    """
    if signals.weights is None or signals.learned is None:
        raise ValueError("gradient_coefficient needs prepared signals: call Algorithm.prepare on the whole draw first")
    mask = signals.mask
    leaves = outputs.map(lambda tensor: tensor.detach().requires_grad_())
    said = leaves.map(lambda tensor: torch.where(mask, tensor, 0.0))
    logprobs = said.logprobs
    signals = replace(signals, old_logprobs=_known(signals.old_logprobs, mask, logprobs.detach()))
    surrogate = algorithm.objective.surrogate(logprobs, signals)
    terms = algorithm.correction.weights(logprobs.detach(), signals) * surrogate.terms
    kl = _penalty(algorithm.kl, logprobs, signals, said.exact_kl)
    if algorithm.kl.in_objective:
        terms = terms - algorithm.kl.coefficient * kl
    if algorithm.entropy.coefficient and said.entropy is not None:
        terms = terms + algorithm.entropy.coefficient * said.entropy
    if algorithm.critic.active:
        terms = terms + _value_terms(algorithm.critic, said.values, signals)
    assert signals.weights is not None
    assert signals.learned is not None
    objective = (signals.weights * torch.where(signals.learned, terms, 0.0)).sum()
    asked = {"logprobs", *algorithm.outputs}
    cotangent = _gradient(objective, leaves, asked)
    return Coefficients(objective.detach(), cotangent, surrogate.ratio, surrogate.clipped, kl.detach())


def _penalty(kl: KL, logprobs: Tensor, signals: Signals, exact: Tensor | None) -> Tensor:
    """Returns ``[B, T]`` nats, before the coefficient, of the policy as it is now; also where it is in the reward."""
    assert signals.old_logprobs is not None
    if not kl.coefficient:
        return torch.zeros_like(logprobs)
    if kl.in_objective and kl.estimator == "exact":
        if exact is None:
            raise ValueError("an exact KL penalty needs Outputs.exact_kl, which only a network can give")
        return kl.weighted(exact, logprobs, signals.old_logprobs)
    if signals.reference_logprobs is None:
        raise ValueError("a KL penalty needs reference_logprobs; KL(coefficient=0.0) does without")
    reference = torch.where(signals.mask, signals.reference_logprobs, 0.0)
    return kl.penalty(logprobs, signals.old_logprobs, reference)


def _value_terms(critic: Critic, values: Tensor | None, signals: Signals) -> Tensor:
    """Returns the critic's terms, 0 for a row without reward: nobody knows what the critic should have said."""
    if values is None or signals.old_values is None or signals.returns is None:
        raise ValueError("a critic's objective needs Outputs.values, old_values and prepared returns")
    old = torch.where(signals.mask, signals.old_values, 0.0)
    terms = critic.objective(values, old, signals.returns)
    return torch.where(signals.scored[:, None], terms, 0.0)


def _gradient(objective: Tensor, leaves: Outputs, asked: set[str]) -> Outputs:
    """Computes ∂objective/∂leaves of those that were asked for; zeros for log-probabilities that have no say."""
    named = {name: leaf for name in sorted(asked) if (leaf := vars(leaves)[name]) is not None}
    found = torch.autograd.grad(objective, list(named.values()), allow_unused=True)
    given = zip(named.items(), found, strict=True)
    return Outputs(**{name: torch.zeros_like(leaf) if grad is None else grad for (name, leaf), grad in given})


def _known(logprobs: Tensor | None, mask: Tensor, otherwise: Tensor) -> Tensor:
    """Returns log-probabilities without gradient, 0 where masked."""
    return otherwise if logprobs is None else torch.where(mask, logprobs, 0.0)
