"""This module is what the mathematics is given and what it gives back: two dataclasses of ``[B, T]`` tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

PER_ROW = (
    "group",
    "finished",
    "correct",
    "demonstrated",
    "parts",
    "part_weights",
    "greedy_rewards",
    "counts",
)


@dataclass(frozen=True)
class Outputs:
    """Outputs are what a network says of each token; and, in the same shape, the cotangent ∂J/∂(what it said).

    An entropy bonus or a critic is one more output with one more cotangent; None where nobody asked for it.
    """

    logprobs: Tensor  # [B, T] log π_θ of the sampled token
    entropy: Tensor | None = None  # [B, T] nats, of the whole next-token distribution
    values: Tensor | None = None  # [B, T] a critic's, of the state before the token
    exact_kl: Tensor | None = None  # [B, T] nats, KL(π_θ‖π_ref) of the whole next-token distribution

    def map(self, function: Callable[[Tensor], Tensor | None]) -> Outputs:
        """Applies ``function`` to every tensor that is there; what it returns None for is left out."""
        present = ((field.name, getattr(self, field.name)) for field in fields(self))
        return Outputs(**{name: function(tensor) for name, tensor in present if tensor is not None})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Signals:
    """Signals are what is known of a draw before its gradient is taken. Rows are completions, group after group.

    ``rewards`` are never overwritten: an advantage has a field of its own. Four log-probabilities have four names:
    ``Outputs.logprobs`` (π_θ, with gradient) and the three here.
    """

    mask: Tensor  # [B, T] bool: the policy sampled this token
    group: Tensor  # [B] int64: rows of one prompt share a number
    rewards: Tensor  # [B, T] float: the reward on its token
    rewarded: Tensor  # [B, T] bool: a reward sits here (it may be 0); a row without any was not scored
    finished: Tensor  # [B] bool: ended by itself, not truncated
    correct: Tensor | None = None  # [B] the judge's verdict: 1 right, 0 wrong, NaN where it gave none
    demonstrated: Tensor | None = None  # [B] bool: people chose this completion, no model of ours drew it
    off_policy: Tensor | None = None  # [B, T] bool: another policy than the one that learns drew this token
    tokens: Tensor | None = None  # [B, T] int64: ids, also of what was heard between two turns
    parts: Tensor | None = None  # [B, K] what each of several rewards said by itself; NaN where it did not apply
    part_weights: Tensor | None = None  # [B, K] the weight of each, the same in every row
    greedy_rewards: Tensor | None = None  # [B] reward of the prompt's greedy completion; NaN: it has none
    behavior_logprobs: Tensor | None = None  # [B, T] what the sampler reported
    old_logprobs: Tensor | None = None  # [B, T] π_old; None: the policy itself (one update a draw of its own samples)
    reference_logprobs: Tensor | None = None  # [B, T] π_ref
    old_values: Tensor | None = None  # [B, T] the critic's when the draw was made
    learned: Tensor | None = None  # [B, T] bool: mask without what is filtered out, set by Algorithm.prepare
    advantages: Tensor | None = None  # [B, T] set by Algorithm.prepare
    returns: Tensor | None = None  # [B, T] what a critic should have said, set by Algorithm.prepare
    weights: Tensor | None = None  # [B, T] aggregation: local weight of each token, set by Algorithm.prepare
    counts: Tensor | None = None  # [B] aggregation: what each row adds to the denominator, set by Algorithm.prepare

    def rows(self, index: Tensor, width: int | None = None) -> Signals:
        """Returns the chosen rows of every tensor; ``width`` cuts ``[B, T]`` ones to their first positions."""
        present = ((field.name, getattr(self, field.name)) for field in fields(self))
        chosen = {name: tensor[index] for name, tensor in present if tensor is not None}
        return replace(self, **{name: x if name in PER_ROW else x[:, :width] for name, x in chosen.items()})

    @property
    def scored(self) -> Tensor:
        """Returns ``[B]`` bool: rows that have a reward."""
        return self.rewarded.any(dim=1)

    @property
    def outcome(self) -> Tensor:
        """Returns ``[B]`` the sum of each row's rewards, in float64."""
        return self.rewards.double().sum(dim=1)


def group_sum(values: Tensor, group: Tensor) -> Tensor:
    """Returns ``[B]``: each row's group total of ``values`` ``[B]``; groups may have any numbers and any sizes."""
    _, inverse = group.unique(return_inverse=True)
    totals = values.new_zeros(int(inverse.max()) + 1 if inverse.numel() else 0).index_add(0, inverse, values)
    return totals[inverse]


def group_mean(values: Tensor, counted: Tensor, group: Tensor) -> Tensor:
    """Returns ``[B]``: each row's group mean of ``values`` ``[B]`` over the ``counted`` rows; 0 where there are
    none."""
    total = group_sum(torch.where(counted, values, 0.0), group)
    return total / group_sum(counted.to(values.dtype), group).clamp(min=1)
