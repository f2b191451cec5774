"""This module leads from rewards to advantages: how much better than expected each token was. Constants for the
gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from groupwise.algorithm.rounding import TOLERANCE, centre, deviation, largest, normalise, range_factor, within_float
from groupwise.algorithm.signals import Signals, group_mean, group_sum


@runtime_checkable
class Advantage(Protocol):
    """This is the slot: advantages ``[B, T]``, 0 where the mask is 0."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns the advantages ``[B, T]`` of sampled tokens, 0 elsewhere. Raises ValueError without a signal."""

    def formula(self) -> str:
        """Writes it as its paper does, with the numbers in force."""
        ...

    def needs(self) -> frozenset[str]:
        """Names the signals without which it cannot be computed, before the policy is updated."""
        return frozenset({"rewards"})

    def compares(self) -> bool:
        """Says whether it compares the completions of a prompt: of one completion alone it makes nothing."""
        return False

    def judges(self) -> bool:
        """Says whether it speaks of rewards or verdicts, so that a row without one has no advantage."""
        return bool(self.needs() & {"rewards", "step_rewards", "correct"})

    def copies(self) -> bool:
        """Says whether completions are learned from whoever drew them, as demonstrations are: no importance weight
        belongs on them."""
        return not self.needs()

    def sees(self) -> Literal["sum", "steps", "parts", "verdicts", "turns"]:
        """Says in what the completions of a group must differ for a signal: the sum of their rewards, the scores of
        their steps, one of several rewards, the verdicts, or what is still to come from one of their turns on."""
        return "sum"

    def loses_penalty(self) -> str:
        """Says why it cannot take rewards that a KL penalty was subtracted from, token by token; empty where it can."""
        return "it reads verdicts, on which a penalty has no effect" if self.needs() == {"correct"} else ""


@dataclass(frozen=True)
class Constant(Advantage):
    """This advantage is A = value for every token: supervised learning, where people chose the data (DeepSeekMath table
    10, GC = 1)."""

    value: Annotated[float, "(-inf, inf)"] = 1.0
    """Advantage of every sampled token."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: the same value for every sampled token."""
        return signals.mask.to(signals.rewards.dtype) * self.value

    def formula(self) -> str:
        return f"A = {self.value:g}"

    def needs(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Accepted(Advantage):
    """This advantage is A = I(o): 1 for each token of a completion that the judge calls right, else 0 (RFT,
    DeepSeekMath table 10).

    Only the verdict counts: no reward for format or length, and no KL in the reward, can make a wrong completion one to
    imitate or a right one not. One without a verdict gets 0. A demonstration, which people chose, gets 1.
    """

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: 1 for every token of a right completion, 0 for those of others."""
        accepted = _verdicts(signals) == 1
        if signals.demonstrated is not None:
            accepted = accepted | signals.demonstrated
        return accepted.to(signals.rewards.dtype)[:, None] * signals.mask

    def formula(self) -> str:
        return "A_i = 1 if o_i is right, else 0"

    def needs(self) -> frozenset[str]:
        return frozenset({"correct"})

    def copies(self) -> bool:
        """Says that completions are learned from whoever drew them: no importance weight belongs on them."""
        return True


@dataclass(frozen=True)
class GroupRelative(Advantage):
    """This advantage is A_{i,t} = (r_i - mean(r_1..r_G)) / (std(r_1..r_G) + epsilon), outcome supervision (DeepSeekMath
    4.1.2).

    Rows without a reward are left out of mean and std and get 0. Statistics are float64, and a group (or batch) whose
    rewards are all equal but for rounding gets exactly 0, not rounding noise divided by its own size.
    """

    scale: Literal["group", "batch", "none", "mean"] = "group"
    """What divides: the standard deviation of the prompt's group (GRPO), of all raw rewards in the batch (Lite PPO),
    nothing (Dr. GRPO), or the group's mean reward (MaxRL's divisor; ``PassRateRelative`` is MaxRL on verdicts)."""
    ddof: Annotated[int, "[0, 1]"] = 1
    """1: Bessel's correction, as TRL and verl do; 0: population."""
    epsilon: Annotated[float, "[0, inf)"] = 0.0
    """Added to what divides. The paper prints none; TRL adds 1e-4, verl 1e-6."""
    baseline: Literal["group", "others"] = "group"
    """Whose mean reward is subtracted: the group's, or that of the other completions (leave one out, RLOO)."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: a completion's reward less the mean of its group, in the scale that is chosen."""
        scored, group = signals.scored, signals.group  # [B], [B]
        unit = torch.zeros_like(group) if self.scale == "batch" else group
        factor = range_factor(signals.outcome, scored, unit)
        rewards, epsilon = signals.outcome * factor, self.epsilon * factor
        centred, equal = centre(rewards, scored, group)
        if self.baseline == "others":
            number = group_sum(scored.double(), group)
            centred = centred * number / (number - 1).clamp(min=1)
        divisor, degenerate = self._divisor(rewards, scored, unit, epsilon)
        advantage = torch.where(equal | degenerate | ~scored, 0.0, centred / divisor)  # [B]
        if self.scale == "none":
            advantage = within_float(advantage / factor)
        return advantage.to(signals.rewards.dtype)[:, None] * signals.mask

    def _divisor(self, rewards: Tensor, scored: Tensor, unit: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``[B]`` what divides, and where there is nothing to divide by."""
        if self.scale == "none":
            return torch.ones_like(rewards), torch.zeros_like(scored)
        if self.scale == "mean":
            mean = group_mean(rewards, scored, unit) + epsilon
            nothing = mean <= TOLERANCE * largest(rewards, scored, unit)  # below 0 it would turn every sign
            return torch.where(nothing, 1.0, mean), nothing
        std, equal = deviation(rewards, scored, unit, self.ddof)
        return torch.where(equal, 1.0, std + epsilon), equal

    def formula(self) -> str:
        mean = "mean(r)" if self.baseline == "group" else "mean(r without r_i)"
        if self.scale == "none":
            return f"A_i = r_i - {mean}"
        named = {"group": "std(r)", "batch": "std(r of the batch)", "mean": "mean(r)"}[self.scale]
        divisor = f"({named} + {self.epsilon:g})" if self.epsilon else named
        return f"A_i = (r_i - {mean}) / {divisor}" + (f",  ddof {self.ddof}" if self.scale != "mean" else "")

    def loses_penalty(self) -> str:
        """Says why a penalty in the reward would be lost; empty where it is kept."""
        if self.scale != "mean":
            return ""
        return "the group's mean reward divides, a share of right answers that a penalty would turn negative"

    def compares(self) -> bool:
        return True


@dataclass(frozen=True)
class PassRateRelative(Advantage):
    """This advantage is A_i = (c_i - p) / p with c_i = 1 where the judge calls o_i right, else 0, and p = mean(c), the
    prompt's pass rate (MaxRL, arXiv 2602.02710).

    Only verdicts count, so that neither a format nor a length, nor rewards of +1 and -1, turn the sign. A group without
    a right completion has 0, and so has a completion without a verdict, which is left out of p.
    """

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]`` (see above). Raises ValueError without the judge's verdicts."""
        right = _verdicts(signals)
        judged = ~right.isnan()
        rate = group_mean(torch.where(judged, right, 0.0), judged, signals.group)
        advantage = torch.where(judged & (rate > 0), (right - rate) / rate, 0.0)
        return advantage.to(signals.rewards.dtype)[:, None] * signals.mask

    def formula(self) -> str:
        return "A_i = (c_i - mean(c)) / mean(c),  c_i = 1 if o_i is right, else 0"

    def needs(self) -> frozenset[str]:
        return frozenset({"correct"})

    def compares(self) -> bool:
        return True

    def sees(self) -> Literal["sum", "steps", "parts", "verdicts"]:
        """Says that it reads verdicts, and no rewards."""
        return "verdicts"


@dataclass(frozen=True)
class NormalisedRewards(Advantage):
    """Each of several rewards by itself normalised in its group, then their weighted sum over the batch (GDPO,
    arXiv 2601.05242): a reward with a small spread keeps its say beside one with a large spread."""

    ddof: Annotated[int, "[0, 1]"] = 1
    """1: Bessel's correction; 0: population."""
    epsilon: Annotated[float, "[0, inf)"] = 1e-4
    """Added to every standard deviation."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]`` (see above). Raises ValueError where rewards have no parts."""
        parts, weights = signals.parts, signals.part_weights
        if parts is None or weights is None:
            parts = torch.where(signals.scored, signals.outcome, torch.nan)[:, None]
            weights = torch.ones_like(parts)
        total, size = parts.new_zeros(len(parts), dtype=torch.float64), parts.new_zeros(len(parts), dtype=torch.float64)
        for values, weight in zip(parts.double().T, weights.double().T, strict=True):
            counted = ~values.isnan() & signals.scored
            term = weight * normalise(values, counted, signals.group, self.ddof, self.epsilon)
            total, size = total + term, size + term.abs()
        total = torch.where(total.abs() <= TOLERANCE * size, 0.0, total)  # rewards that cancel each other
        everyone = torch.zeros_like(signals.group)
        advantage = normalise(total, signals.scored, everyone, self.ddof, self.epsilon)
        return advantage.to(signals.rewards.dtype)[:, None] * signals.mask

    def formula(self) -> str:
        return (
            f"A_i = z_batch( Σ_k w_k z_group(r_i^k) ),  z(x) = (x - mean(x)) / (std(x) + {self.epsilon:g}), "
            f"ddof {self.ddof}"
        )

    def loses_penalty(self) -> str:
        """Says why a penalty in the reward would be lost."""
        return "each reward is normalised by itself, and the penalty is in none of them"

    def compares(self) -> bool:
        return True

    def sees(self) -> Literal["sum", "steps", "parts", "verdicts"]:
        """Says that it reads each reward by itself."""
        return "parts"


@dataclass(frozen=True)
class Preference(Advantage):
    """This advantage is +1 on the tokens of the first completion of a group, the chosen one, -1 on those of the
    rejected (DPO)."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: +1 on the first completion of each group, -1 on the second."""
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
    """This advantage is K - 1, K - 2, ..., 0 on the completions of a group of K, which stand best first: only their
    order matters."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: how many completions of its group stand behind each."""
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


def _verdicts(signals: Signals) -> Tensor:
    if signals.correct is None:
        raise ValueError("this advantage needs the judge's verdicts: Signals.correct")
    return signals.correct


def to_go(values: Tensor, discount: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Computes ``[B, T]``: Σ_{u ≥ t} discount^(u-t) · values_u, where u-t counts the tokens of ``mask`` ``[B, T]``
    (all)."""
    result, running = torch.zeros_like(values), torch.zeros_like(values[:, 0])
    for place in reversed(range(values.shape[1])):
        passed = discount if mask is None else torch.where(mask[:, place], discount, 1.0)
        running = values[:, place] + passed * running
        result[:, place] = running
    return result
