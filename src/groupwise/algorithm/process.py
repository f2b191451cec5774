"""This module is process supervision: an advantage made of the scores of single steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from groupwise.algorithm.advantages import Advantage, to_go
from groupwise.algorithm.rounding import normalise
from groupwise.algorithm.signals import Signals


@dataclass(frozen=True)
class ProcessRelative(Advantage):
    """This advantage is process supervision (DeepSeekMath 4.1.3): step scores normalised over all steps of the group,
    then summed up.

    A_{i,t} = Σ_{j: index(j) ≥ t} (r_i^{index(j)} - mean(R)) / (std(R) + epsilon), R all step scores of the group.
    Tokens after the last step get 0; a completion with more steps weighs more in mean and std.
    """

    ddof: Annotated[int, "[0, 1]"] = 1
    """1: Bessel's correction; 0: population."""
    epsilon: Annotated[float, "[0, inf)"] = 0.0
    """Added to the standard deviation."""
    last_step: Literal["text", "completion"] = "text"
    """Where a completion's last step ends. ``text``: with its last visible character, index(K) of the paper taken
    literally; EOS belongs to no step, so that stopping is never learned. ``completion``: with the completion, so that
    EOS has the last step's advantage; and a step that truncation cut has no score, where others have."""

    def advantages(self, signals: Signals) -> Tensor:
        """Returns ``[B, T]``: the sum of the normalised scores of a token's step and those after it (DeepSeekMath
        4.1.3)."""
        rows, places = (signals.rewarded & signals.mask).nonzero(as_tuple=True)  # [S], row after row
        ends = places
        if self.last_step == "completion":
            ends, ended = _to_the_end(signals, rows, places)
            rows, places, ends = rows[ended], places[ended], ends[ended]
        scores, unit = signals.rewards[rows, places].double(), signals.group[rows]  # [S]
        normalised = normalise(scores, torch.ones_like(scores, dtype=torch.bool), unit, self.ddof, self.epsilon)
        placed = torch.zeros_like(signals.rewards, dtype=torch.float64)
        placed[rows, ends] = normalised
        return (to_go(placed) * signals.mask).to(signals.rewards.dtype)

    def formula(self) -> str:
        divisor = f"(std(R) + {self.epsilon:g})" if self.epsilon else "std(R)"
        shape = f"A_{{i,t}} = Σ_{{steps ending at or after t}} (score - mean(R)) / {divisor},  ddof {self.ddof}"
        return shape + (",  EOS in the last step" if self.last_step == "completion" else "")

    def loses_penalty(self) -> str:
        """Says why a penalty in the reward would be lost."""
        return "the penalty is lost between steps, since process supervision normalises step scores only"

    def needs(self) -> frozenset[str]:
        return frozenset({"step_rewards"})

    def compares(self) -> bool:
        return True

    def sees(self) -> Literal["sum", "steps", "parts", "verdicts"]:
        """Says that it reads the scores of steps."""
        return "steps"


def _to_the_end(signals: Signals, rows: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ``[S]`` of step scores, row after row: the token that each one's step ends at, and whether it ended.

    The last step of a finished row reaches its last sampled token. In a truncated row of several scores, one at the
    last sampled token is of a step that was cut.
    """
    positions = torch.arange(signals.mask.shape[1], device=rows.device)
    last = torch.where(signals.mask, positions, -1).amax(dim=1)[rows]
    is_last = torch.ones_like(rows, dtype=torch.bool)
    is_last[:-1] = rows[1:] != rows[:-1]
    finished, several = signals.finished[rows], torch.bincount(rows, minlength=len(signals.group))[rows] > 1
    return torch.where(is_last & finished, last, places), finished | ~several | (places != last)
