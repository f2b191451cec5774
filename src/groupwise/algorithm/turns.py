"""This module gives credit turn by turn, where a completion has several and an environment speaks between them.

A turn is a run of tokens that the policy sampled (mask 1); what stands between two (mask 0) is what it heard. A reward
belongs to the turn that it stands in, or to the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from groupwise.algorithm.advantages import Advantage
from groupwise.algorithm.rounding import centre, normalise, range_factor, within_float
from groupwise.algorithm.signals import Signals, group_sum


class Turns(NamedTuple):
    """The turns of a draw. ``K`` is the largest number of turns in a row, at least 1."""

    number: Tensor  # [B, T] int64: the turn of each token, from 0; -1 before the first
    begins: Tensor  # [B, T] bool: the first token of a turn
    reached: Tensor  # [B, K] bool: the row has such a turn

    @staticmethod
    def of(mask: Tensor) -> Turns:
        """Finds the turns of a ``mask`` ``[B, T]``."""
        before = torch.zeros_like(mask)
        before[:, 1:] = mask[:, :-1]
        begins = mask & ~before
        number = begins.long().cumsum(dim=1) - 1
        most = max(1, int(number.max()) + 1 if number.numel() else 1)
        count = begins.sum(dim=1, keepdim=True)
        return Turns(number, begins, torch.arange(most, device=mask.device)[None, :] < count)

    def returns(self, rewards: Tensor, gamma: float = 1.0) -> Tensor:
        """Computes ``[B, K]`` float64: Σ of rewards ``[B, T]`` from each turn on, discounted by ``gamma`` a turn."""
        table = torch.zeros(self.reached.shape, dtype=torch.float64, device=rewards.device)
        counted = torch.where(self.number >= 0, rewards.double(), 0.0)
        table = table.scatter_add(1, self.number.clamp(min=0), counted)
        for turn in reversed(range(table.shape[1] - 1)):
            table[:, turn] += gamma * table[:, turn + 1]
        return table

    def spread(self, values: Tensor, mask: Tensor) -> Tensor:
        """Returns ``[B, T]``: the value ``[B, K]`` of each token's turn, 0 where the ``mask`` is 0."""
        return torch.where(mask, values.gather(1, self.number.clamp(min=0)), 0.0)


@dataclass(frozen=True)
class TurnToGo(Advantage):
    """A of turn k = R_i(k) - mean of R_j(k) over the others of the group that reached turn k, R(k) = Σ of the rewards
    from turn k on. Every token of the turn has it.

    The baseline is made of others alone and subtracted once, so that it changes no expected gradient, however many
    turns the policy takes; means that are added up turn by turn put a price on every further turn. A turn that nobody
    else reached has baseline 0. With one turn each it is leave-one-out (RLOO). Rows without a reward get 0 and are
    nobody's baseline.
    """

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: the rewards from a token's turn on, less the mean of the others that reached that
        turn."""
        turns = Turns.of(signals.mask)
        most = turns.reached.shape[1]
        counted = (turns.reached & signals.scored[:, None]).flatten()
        unit = (signals.group[:, None] * most + torch.arange(most, device=signals.group.device)).flatten()
        returns = turns.returns(signals.rewards).flatten()
        factor = range_factor(returns, counted, unit)
        centred, equal = centre(returns * factor, counted, unit)
        number = group_sum(counted.double(), unit)
        less_others = torch.where(equal, 0.0, within_float(centred * number / (number - 1).clamp(min=1) / factor))
        advantage = torch.where(counted, torch.where(number > 1, less_others, returns), 0.0)
        return turns.spread(advantage.view_as(turns.reached), signals.mask).to(signals.rewards.dtype)

    def formula(self) -> str:
        return "A_t = R_i(k) - mean_{j≠i} R_j(k),  R(k) = Σ of rewards from turn k on,  k = the turn of token t"

    def compares(self) -> bool:
        return True

    def sees(self) -> Literal["turns"]:
        """Says that it reads rewards turn by turn."""
        return "turns"


@dataclass(frozen=True)
class AnchorStates(Advantage):
    """A = A^E + ω A^S: the whole episode against the group, and each turn against the turns of the group that began in
    the same state (GiGPO, arXiv 2505.10978, eq. 8).

    A^E_i = (R_i - mean(R)) / F, R the sum of an episode's rewards (eq. 3). A^S = (Q - mean(Q)) / F over the turns that
    share a state, Q the discounted return from the turn on (eq. 6 and 7). A state met once has A^S = 0. Rows without a
    reward get 0 and are in no mean.
    """

    weight: Annotated[float, "[0, inf)"] = 1.0
    """ω, of the advantage among turns of one state."""
    gamma: Annotated[float, "[0, 1]"] = 0.95
    """Discount a turn, of the returns that turns of one state are compared by."""
    state: Literal["observation", "history"] = "observation"
    """What the state of a turn is: what the policy heard since its last turn (the paper's; of a first turn it is the
    prompt), so that a completion may meet one twice; or all that stands before the turn."""
    scale: Literal["std", "none"] = "std"
    """F: the standard deviation, or 1, with which the paper is as well."""
    ddof: Annotated[int, "[0, 1]"] = 1
    """1: Bessel's correction, as the authors' code has it; 0: population."""
    epsilon: Annotated[float, "[0, inf)"] = 0.0
    """Added to F. The paper prints none; the authors' code adds 1e-6."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: an episode's advantage and, weighted, that of each turn against others from the same
        state."""
        turns, scored = Turns.of(signals.mask), signals.scored
        episode = self._compared(signals.outcome, scored, signals.group)
        counted = turns.reached & scored[:, None]
        returns = turns.returns(signals.rewards, self.gamma)[counted]
        among = torch.zeros(counted.shape, dtype=torch.float64, device=counted.device)
        everyone = torch.ones_like(returns, dtype=torch.bool)
        among[counted] = self._compared(returns, everyone, self._states(signals, turns))
        both = torch.where(counted, episode[:, None] + self.weight * among, 0.0)
        return turns.spread(both, signals.mask).to(signals.rewards.dtype)

    def _compared(self, values: Tensor, counted: Tensor, unit: Tensor) -> Tensor:
        if self.scale == "std":
            return normalise(values, counted, unit, self.ddof, self.epsilon)
        factor = range_factor(values, counted, unit)
        centred, equal = centre(values * factor, counted, unit)
        return torch.where(equal | ~counted, 0.0, within_float(centred / factor))

    def _states(self, signals: Signals, turns: Turns) -> Tensor:
        """Returns ``[N]``: a number for the state of each turn of scored rows, row after row; those of one prompt's
        group may share one. Raises ValueError where what was heard is not known."""
        if signals.tokens is None and turns.reached.shape[1] > 1:
            raise ValueError(
                "the state of a turn is what was heard before it, so the ids of all tokens are needed: tokens"
            )
        known: dict[tuple[int, ...], int] = {}
        found = []
        for row in signals.scored.nonzero()[:, 0].tolist():
            group, since = int(signals.group[row]), 0
            ids = [] if signals.tokens is None else signals.tokens[row].tolist()
            ends = _ends(signals.mask[row])
            for place, begin in enumerate(turns.begins[row].nonzero()[:, 0].tolist()):
                key = (group, *ids[since:begin])
                found.append(known.setdefault(key, len(known)))
                since = ends[place] if self.state == "observation" else 0
        return torch.tensor(found, dtype=torch.int64, device=signals.group.device)

    def formula(self) -> str:
        std = f"(std(x) + {self.epsilon:g})" if self.epsilon else "std(x)"
        within = f"z(x) = (x - mean(x)) / {std}, ddof {self.ddof}" if self.scale == "std" else "z(x) = x - mean(x)"
        state = "that began with the same observation" if self.state == "observation" else "with the same history"
        weight = "" if self.weight == 1 else f"{self.weight:g} "
        discount = "" if self.gamma == 1 else f", discounted by {self.gamma:g} a turn"
        return (
            f"A_t = z(r)_i + {weight}z(Q)_k over the group's turns {state},  {within},  "
            f"Q_k = Σ of rewards from turn k on{discount},  k = the turn of token t"
        )

    def compares(self) -> bool:
        return True

    def sees(self) -> Literal["turns"]:
        """Says that it reads rewards turn by turn."""
        return "turns"


def _ends(mask: Tensor) -> list[int]:
    """Returns, of each turn of a row, the place behind its last token."""
    after = torch.zeros_like(mask)
    after[:-1] = mask[1:]
    return [place + 1 for place in (mask & ~after).nonzero()[:, 0].tolist()]
