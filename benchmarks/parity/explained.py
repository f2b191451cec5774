"""What other systems compute where it is not what ours computes: written by hand, so that it must give *their* number.

A row that merely tolerated a known difference would tolerate the next one too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from draws import Draw, Found
from ours import ours
from torch import Tensor

from groupwise.algorithm import (
    Algorithm,
    Constant,
    Correction,
    Entropy,
    GroupRelative,
    RejectMismatch,
    Signals,
    TokenMean,
    Whitening,
)
from groupwise.algorithm.kl import k2, k3

Formula = Callable[[Algorithm, Draw, int], Found]
"""Of our algorithm, the draw and the number of updates: what they find."""

TINY = 1e-8


def whitened_by_counts(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """Mean and variance of the whitening divide by the number of tokens plus 1e-8 (verl)."""

    def edit(prepared: Signals) -> Signals:
        assert prepared.advantages is not None
        sample = prepared.advantages[draw.mask]
        number = len(sample)
        mean = sample.sum() / (number + TINY)
        variance = (sample - mean).square().sum() / (number + TINY) * number / (number - 1)
        whitened = (prepared.advantages - mean) * (variance + algorithm.whitening.epsilon).rsqrt()
        return replace(prepared, advantages=torch.where(draw.mask, whitened, 0.0))

    return ours(replace(algorithm, whitening=Whitening()), draw, updates, edit)


def lengths_with_more(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """A sequence's mean divides by its length plus 1e-8 (verl, OpenRLHF)."""
    lengths = draw.mask.double().sum(dim=1, keepdim=True)
    return ours(algorithm, draw, updates, lambda prepared: replace(prepared, weights=draw.mask / (lengths + TINY)))


def average_count(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """Every update of a draw divides by the draw's mean number of tokens an update, not by its own (TRL)."""

    def edit(prepared: Signals) -> Signals:
        assert prepared.counts is not None
        return replace(prepared, counts=prepared.counts.mean().expand(len(prepared.counts)))

    return ours(algorithm, draw, updates, edit)


def means_of_halves(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """The token means of the micro-batches are averaged (TRL)."""

    def edit(prepared: Signals) -> Signals:
        weights = draw.mask.double()
        for part in draw.parts(2):
            weights[part] /= weights[part].sum()
        return replace(prepared, weights=weights, counts=torch.full_like(weights[:, 0], 2 / len(weights)))

    return ours(algorithm, draw, updates, edit)


def bonus_by_tokens(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """The entropy bonus is a token mean, whatever the mean of the policy's terms (TRL)."""
    policy = ours(replace(algorithm, entropy=Entropy()), draw, updates)
    return _beside(policy, replace(algorithm, kl=replace(algorithm.kl, coefficient=0.0)), draw, updates)


def penalty_by_tokens(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """The KL as a loss is a token mean, whatever the mean of the policy's terms (OpenRLHF)."""
    policy = lengths_with_more(replace(algorithm, kl=replace(algorithm.kl, coefficient=0.0)), draw, updates)
    return _beside(policy, algorithm, draw, updates)


def _beside(policy: Found, algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """The rest of an algorithm, by token mean."""
    rest = ours(replace(algorithm, advantage=Constant(0.0), aggregation=TokenMean()), draw, updates)
    return replace(policy, loss=policy.loss + rest.loss, logprobs=policy.logprobs + rest.logprobs, entropy=rest.entropy)


def raw_where_alone(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """In a group of one the mean is 0 and the standard deviation 1 (verl)."""
    assert isinstance(algorithm.advantage, GroupRelative)
    advantages = (draw.rewards / (1 + algorithm.advantage.epsilon))[:, None] * draw.mask
    return ours(algorithm, draw, updates, lambda prepared: replace(prepared, advantages=advantages))


def rewards_within_ten(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """A completion's reward is held within ±10 (OpenRLHF)."""
    return ours(algorithm, replace(draw, rewards=draw.rewards.clamp(-10, 10)), updates)


def single_precision(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """Statistics are float32: equal rewards have a deviation of 0 and a mean that is off by a rounding (OpenRLHF)."""
    assert isinstance(algorithm.advantage, GroupRelative)
    rewards = draw.rewards.float().view(-1, draw.group_size)
    scaled = (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + algorithm.advantage.epsilon)
    advantages = scaled.clamp(-10, 10).double().view(-1, 1) * draw.mask
    return ours(algorithm, draw, updates, lambda prepared: replace(prepared, advantages=advantages))


@dataclass(frozen=True)
class GatedBySequence(Correction):
    """ρ_t of every token where low <= exp(mean_t log ρ_t) <= high, 0 elsewhere (OpenRLHF, level seq)."""

    low: float
    high: float

    def weights(self, logprobs: Tensor, signals: Signals) -> Tensor:
        assert signals.old_logprobs is not None
        assert signals.behavior_logprobs is not None
        nats = torch.where(signals.mask, signals.old_logprobs - signals.behavior_logprobs, 0.0)
        mean = (nats.sum(dim=1, keepdim=True) / signals.mask.sum(dim=1, keepdim=True)).exp()
        return torch.where((mean >= self.low) & (mean <= self.high), nats.exp(), 0.0)

    def formula(self) -> str:
        return "ρ_t if low ≤ exp(mean log ρ) ≤ high else 0,"


def gated_by_sequence(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """A whole completion is kept or left out, and what is kept is weighted token by token (OpenRLHF)."""
    gate = algorithm.correction
    assert isinstance(gate, RejectMismatch)
    return ours(replace(algorithm, correction=GatedBySequence(gate.low, gate.high)), draw, updates)


def sequence_weighted(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """At the sequence level k3 is weighted by the sequence's ratio, live, not by the token's (TRL)."""

    def penalty(logprobs: Tensor) -> Tensor:
        nats = torch.where(draw.mask, logprobs - draw.old, 0.0)
        ratio = (nats.sum(dim=1, keepdim=True) / draw.mask.sum(dim=1, keepdim=True)).exp()
        return ratio * k3(logprobs, draw.reference)

    return _with_penalty(algorithm, draw, updates, penalty)


def k3_with_gradient_of_k2(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """The value is k3, held at 10, the gradient that of k2 (verl)."""

    def penalty(logprobs: Tensor) -> Tensor:
        return _value_and_gradient(k3(logprobs, draw.reference).clamp(-10, 10), k2(logprobs, draw.reference))

    return _with_penalty(algorithm, draw, updates, penalty)


def k3_with_unbiased_gradient(algorithm: Algorithm, draw: Draw, updates: int) -> Found:
    """The value is k3, held at 10, the gradient that of k2 weighted by min(r, 10) (OpenRLHF)."""

    def penalty(logprobs: Tensor) -> Tensor:
        ratio = (logprobs - draw.old).exp().clamp(max=10).detach()
        return _value_and_gradient(k3(logprobs, draw.reference).clamp(-10, 10), ratio * k2(logprobs, draw.reference))

    return _with_penalty(algorithm, draw, updates, penalty)


def _value_and_gradient(value: Tensor, carrier: Tensor) -> Tensor:
    return value.detach() + carrier - carrier.detach()


def _with_penalty(algorithm: Algorithm, draw: Draw, updates: int, penalty: Callable[[Tensor], Tensor]) -> Found:
    """Our surrogate alone, and the token mean of a penalty on one update's tokens."""
    assert updates == 1
    without = ours(replace(algorithm, kl=replace(algorithm.kl, coefficient=0.0)), draw)
    leaf = draw.logprobs.clone().requires_grad_()
    loss = algorithm.kl.coefficient * penalty(leaf)[draw.mask].mean()
    gradient = torch.autograd.grad(loss, leaf)[0]
    return replace(without, loss=without.loss + loss.item(), logprobs=without.logprobs + gradient)
