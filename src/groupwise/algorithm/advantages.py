"""From rewards to advantages: how much better than expected each token was. Constants for the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from groupwise.algorithm.signals import Signals, group_sum


@runtime_checkable
class Advantage(Protocol):
    """The slot: advantages ``[B, T]``, 0 where the mask is 0."""

    def advantages(self, signals: Signals) -> Tensor: ...


@dataclass(frozen=True)
class Constant(Advantage):
    """A = value for every token: supervised learning, where people chose the data (DeepSeekMath table 10, GC = 1)."""

    value: float = 1.0
    """Advantage of every sampled token."""

    def advantages(self, signals: Signals) -> Tensor:
        return signals.mask.to(signals.rewards.dtype) * self.value


@dataclass(frozen=True)
class GroupRelative(Advantage):
    """A_{i,t} = (r_i - mean(r_1..r_G)) / (std(r_1..r_G) + epsilon), outcome supervision (DeepSeekMath 4.1.2).

    Rows without a reward are left out of mean and std and get 0. Statistics are float64, and a group (or batch) whose
    rewards are all equal gets exactly 0, not rounding noise divided by epsilon.
    """

    scale: Literal["group", "batch", "none"] = "group"
    """Whose standard deviation divides: of the prompt's group (GRPO), of all raw rewards in the batch, or none."""
    ddof: int = 1
    """1: Bessel's correction, as TRL and verl do; 0: population."""
    epsilon: float = 0.0
    """Added to the standard deviation. The paper prints none; TRL adds 1e-4, verl 1e-6."""

    def advantages(self, signals: Signals) -> Tensor:
        rewards, scored = signals.outcome, signals.scored  # [B], [B]
        centred, equal = _centre(rewards, scored, signals.group)
        unit = torch.zeros_like(signals.group) if self.scale == "batch" else signals.group
        if self.scale != "none":
            deviation, equal_unit = _centre(rewards, scored, unit)
            degrees = group_sum(scored.double(), unit) - self.ddof
            std = (group_sum(deviation.square(), unit) / degrees.clamp(min=1)).sqrt()
            equal = equal | equal_unit
            centred = centred / torch.where(equal, 1.0, std + self.epsilon)
        advantage = torch.where(equal | ~scored, 0.0, centred)  # [B]
        return advantage.to(signals.rewards.dtype)[:, None] * signals.mask


def _centre(rewards: Tensor, scored: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """``rewards - mean`` over the scored rows of each unit, 0 elsewhere; and whether all rewards of the unit are equal.

    Shifting by one of the unit's own rewards first makes equality exact: a - a is 0, a mean of equal floats may not be.
    """
    total = group_sum(scored.double(), unit).clamp(min=1)
    _, inverse = unit.unique(return_inverse=True)
    anchor = rewards.new_zeros(int(inverse.max()) + 1).index_copy(0, inverse[scored], rewards[scored])[inverse]
    shifted = torch.where(scored, rewards - anchor, 0.0)
    equal = group_sum((shifted != 0).double(), unit) == 0
    return torch.where(scored, shifted - group_sum(shifted, unit) / total, 0.0), equal
