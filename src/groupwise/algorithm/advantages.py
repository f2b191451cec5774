"""From rewards to advantages: how much better than expected each token was. Constants for the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from groupwise.algorithm.signals import Signals, group_mean, group_sum


@runtime_checkable
class Advantage(Protocol):
    """The slot: advantages ``[B, T]``, 0 where the mask is 0."""

    def advantages(self, signals: Signals) -> Tensor: ...

    def formula(self) -> str:
        """As its paper writes it, with the numbers in force."""
        ...

    def needs(self) -> frozenset[str]:
        """Names of the signals without which it cannot be computed, before the policy is updated."""
        return frozenset({"rewards"})

    def compares(self) -> bool:
        """Whether it compares the completions of a prompt: of one completion alone it makes nothing."""
        return False

    def judges(self) -> bool:
        """Whether it speaks of rewards, so that a row without one has no advantage."""
        return bool(self.needs() & {"rewards", "step_rewards"})

    def loses_penalty(self) -> str:
        """Why it cannot take rewards that a KL penalty was subtracted from, token by token; empty where it can."""
        return ""


@dataclass(frozen=True)
class Constant(Advantage):
    """A = value for every token: supervised learning, where people chose the data (DeepSeekMath table 10, GC = 1)."""

    value: Annotated[float, "(-inf, inf)"] = 1.0
    """Advantage of every sampled token."""

    def advantages(self, signals: Signals) -> Tensor:
        return signals.mask.to(signals.rewards.dtype) * self.value

    def formula(self) -> str:
        return f"A = {self.value:g}"

    def needs(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Accepted(Advantage):
    """A = I(o): 1 for each token of a completion that the rule accepts, else 0 (RFT, DeepSeekMath table 10)."""

    threshold: Annotated[float, "(-inf, inf)"] = 1.0
    """Smallest reward that is accepted."""
    unscored: Annotated[float, "(-inf, inf)"] = 0.0
    """Advantage of a completion without a reward: 1 where demonstrations stand among chosen samples."""

    def advantages(self, signals: Signals) -> Tensor:
        accepted = (signals.outcome >= self.threshold).to(signals.rewards.dtype)
        accepted = torch.where(signals.scored, accepted, self.unscored)
        return accepted[:, None] * signals.mask

    def formula(self) -> str:
        return f"A_i = 1 if r_i ≥ {self.threshold:g} else 0"

    def loses_penalty(self) -> str:
        return "the threshold would judge the reward less the penalty, and reject a right answer for its distance"


@dataclass(frozen=True)
class GroupRelative(Advantage):
    """A_{i,t} = (r_i - mean(r_1..r_G)) / (std(r_1..r_G) + epsilon), outcome supervision (DeepSeekMath 4.1.2).

    Rows without a reward are left out of mean and std and get 0. Statistics are float64, and a group (or batch) whose
    rewards are all equal gets exactly 0, not rounding noise divided by epsilon.
    """

    scale: Literal["group", "batch", "none", "mean"] = "group"
    """What divides: the standard deviation of the prompt's group (GRPO), of all raw rewards in the batch (Lite PPO),
    nothing (Dr. GRPO), or the group's mean reward (MaxRL, for rewards of 0 and 1)."""
    ddof: Annotated[int, "[0, 1]"] = 1
    """1: Bessel's correction, as TRL and verl do; 0: population."""
    epsilon: Annotated[float, "[0, inf)"] = 0.0
    """Added to what divides. The paper prints none; TRL adds 1e-4, verl 1e-6."""
    baseline: Literal["group", "others"] = "group"
    """Whose mean reward is subtracted: the group's, or that of the other completions (leave one out, RLOO)."""

    def advantages(self, signals: Signals) -> Tensor:
        rewards, scored = signals.outcome, signals.scored  # [B], [B]
        centred, equal = centre(rewards, scored, signals.group)
        if self.baseline == "others":
            number = group_sum(scored.double(), signals.group)
            centred = centred * number / (number - 1).clamp(min=1)
        divisor, degenerate = self._divisor(rewards, scored, signals.group)
        advantage = torch.where(equal | degenerate | ~scored, 0.0, centred / divisor)  # [B]
        return advantage.to(signals.rewards.dtype)[:, None] * signals.mask

    def _divisor(self, rewards: Tensor, scored: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """``[B]`` what divides, and where there is nothing to divide by."""
        if self.scale == "none":
            return torch.ones_like(rewards), torch.zeros_like(scored)
        if self.scale == "mean":
            mean = group_mean(rewards, scored, group) + self.epsilon
            return torch.where(mean == 0, 1.0, mean), mean == 0
        unit = torch.zeros_like(group) if self.scale == "batch" else group
        std, equal = deviation(rewards, scored, unit, self.ddof)
        return torch.where(equal, 1.0, std + self.epsilon), equal

    def formula(self) -> str:
        mean = "mean(r)" if self.baseline == "group" else "mean(r without r_i)"
        if self.scale == "none":
            return f"A_i = r_i - {mean}"
        named = {"group": "std(r)", "batch": "std(r of the batch)", "mean": "mean(r)"}[self.scale]
        divisor = f"({named} + {self.epsilon:g})" if self.epsilon else named
        return f"A_i = (r_i - {mean}) / {divisor}" + (f",  ddof {self.ddof}" if self.scale != "mean" else "")

    def loses_penalty(self) -> str:
        if self.scale != "mean":
            return ""
        return "the group's mean reward divides, a share of right answers that a penalty would turn negative"

    def compares(self) -> bool:
        return True


@dataclass(frozen=True)
class ProcessRelative(Advantage):
    """Process supervision (DeepSeekMath 4.1.3): step scores normalised over all steps of the group, then summed up.

    A_{i,t} = Σ_{j: index(j) ≥ t} (r_i^{index(j)} - mean(R)) / (std(R) + epsilon), R all step scores of the group.
    Tokens after the last step get 0; a completion with more steps weighs more in mean and std.
    """

    ddof: Annotated[int, "[0, 1]"] = 1
    """1: Bessel's correction; 0: population."""
    epsilon: Annotated[float, "[0, inf)"] = 0.0
    """Added to the standard deviation."""

    def advantages(self, signals: Signals) -> Tensor:
        steps = signals.rewarded & signals.mask  # [B, T]
        rows, places = steps.nonzero(as_tuple=True)
        scores, unit = signals.rewards[rows, places].double(), signals.group[rows]  # [S]
        counted = torch.ones_like(scores, dtype=torch.bool)
        centred, equal = centre(scores, counted, unit)
        std, _ = deviation(scores, counted, unit, self.ddof)
        normalised = torch.where(equal, 0.0, centred / torch.where(equal, 1.0, std + self.epsilon))
        placed = torch.zeros_like(signals.rewards, dtype=torch.float64)
        placed[rows, places] = normalised
        return (to_go(placed) * signals.mask).to(signals.rewards.dtype)

    def formula(self) -> str:
        divisor = f"(std(R) + {self.epsilon:g})" if self.epsilon else "std(R)"
        return f"A_{{i,t}} = Σ_{{steps ending at or after t}} (score - mean(R)) / {divisor},  ddof {self.ddof}"

    def loses_penalty(self) -> str:
        return "the penalty is lost between steps, since process supervision normalises step scores only"

    def needs(self) -> frozenset[str]:
        return frozenset({"step_rewards"})

    def compares(self) -> bool:
        return True


@dataclass(frozen=True)
class NormalisedRewards(Advantage):
    """Each of several rewards by itself normalised in its group, then their weighted sum over the batch (GDPO,
    arXiv 2601.05242): a reward with a small spread keeps its say beside one with a large spread."""

    ddof: Annotated[int, "[0, 1]"] = 1
    """1: Bessel's correction; 0: population."""
    epsilon: Annotated[float, "[0, inf)"] = 1e-4
    """Added to every standard deviation."""

    def advantages(self, signals: Signals) -> Tensor:
        parts, weights = signals.parts, signals.part_weights
        if parts is None or weights is None:
            parts = torch.where(signals.scored, signals.outcome, torch.nan)[:, None]
            weights = torch.ones_like(parts)
        total = parts.new_zeros(len(parts), dtype=torch.float64)
        for values, weight in zip(parts.double().T, weights.double().T, strict=True):
            total = total + weight * self._normalised(values, ~values.isnan() & signals.scored, signals.group)
        advantage = self._normalised(total, signals.scored, torch.zeros_like(signals.group))
        return advantage.to(signals.rewards.dtype)[:, None] * signals.mask

    def _normalised(self, values: Tensor, counted: Tensor, unit: Tensor) -> Tensor:
        centred, equal = centre(values, counted, unit)
        std, _ = deviation(values, counted, unit, self.ddof)
        return torch.where(equal | ~counted, 0.0, centred / torch.where(equal, 1.0, std + self.epsilon))

    def formula(self) -> str:
        return (
            f"A_i = z_batch( Σ_k w_k z_group(r_i^k) ),  z(x) = (x - mean(x)) / (std(x) + {self.epsilon:g}), "
            f"ddof {self.ddof}"
        )

    def loses_penalty(self) -> str:
        return "each reward is normalised by itself, and the penalty is in none of them"

    def compares(self) -> bool:
        return True


@dataclass(frozen=True)
class Preference(Advantage):
    """+1 on the tokens of the first completion of a group, the chosen one, -1 on those of the rejected (DPO)."""

    def advantages(self, signals: Signals) -> Tensor:
        group = signals.group.tolist()
        first = {number: row for row, number in reversed(list(enumerate(group)))}
        sign = torch.tensor([1.0 if first[number] == row else -1.0 for row, number in enumerate(group)])
        return sign.to(signals.rewards)[:, None] * signals.mask

    def formula(self) -> str:
        return "A = +1 on the chosen, -1 on the rejected completion"

    def needs(self) -> frozenset[str]:
        return frozenset()

    def compares(self) -> bool:
        return True


@dataclass(frozen=True)
class Ranking(Advantage):
    """K - 1, K - 2, ..., 0 on the completions of a group of K, which stand best first: only their order matters."""

    def advantages(self, signals: Signals) -> Tensor:
        seen: dict[int, int] = {}
        places = []
        for number in signals.group.tolist():
            places.append(seen.setdefault(number, 0))
            seen[number] += 1
        better = [seen[number] - 1 - place for number, place in zip(signals.group.tolist(), places, strict=True)]
        return torch.tensor(better).to(signals.rewards)[:, None] * signals.mask

    def formula(self) -> str:
        return "A_i = K - i,  i = 1 the best of K completions"

    def needs(self) -> frozenset[str]:
        return frozenset()

    def compares(self) -> bool:
        return True


def to_go(values: Tensor, discount: float = 1.0) -> Tensor:
    """``[B, T]``: Σ_{u ≥ t} discount^(u-t) · values_u."""
    result, running = torch.zeros_like(values), torch.zeros_like(values[:, 0])
    for place in reversed(range(values.shape[1])):
        running = values[:, place] + discount * running
        result[:, place] = running
    return result


def centre(values: Tensor, counted: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """``values - mean`` over the counted rows of each unit, 0 elsewhere; and whether all of the unit's are equal.

    Shifting by one of the unit's own values first makes equality exact: a - a is 0, a mean of equal floats may not be.
    """
    _, inverse = unit.unique(return_inverse=True)
    units = int(inverse.max()) + 1 if inverse.numel() else 0
    anchor = values.new_zeros(units).index_copy(0, inverse[counted], values[counted])[inverse]
    shifted = torch.where(counted, values - anchor, 0.0)
    equal = group_sum((shifted != 0).double(), unit) == 0
    return torch.where(counted, shifted - group_mean(shifted, counted, unit), 0.0), equal


def deviation(values: Tensor, counted: Tensor, unit: Tensor, ddof: int) -> tuple[Tensor, Tensor]:
    """``[B]``: the standard deviation of each row's unit, over its counted rows; and whether all of them are equal."""
    centred, equal = centre(values, counted, unit)
    degrees = group_sum(counted.double(), unit) - ddof
    return (group_sum(centred.square(), unit) / degrees.clamp(min=1)).sqrt(), equal
