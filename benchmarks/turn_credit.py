"""Which advantages have the gradient of the mean reward where the policy decides how many turns there are.

Counted out, not sampled: a policy takes at most three turns and goes on in each with probability p = 1/2, which scores
0.3. The end scores 0.2, 0.1, 0.5 or 0.6 after 0, 1, 2 or 3 turns gone on; the third such turn is the last, and has both
its own score and that of the end. Of every group of four completions there can be, weighed by how likely it is:
the mean over its completions of Σ_turns A · ∂ log π / ∂p, beside the derivative of the mean reward.

    python benchmarks/turn_credit.py       writes benchmarks/turn_credit.json
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from groupwise.algorithm import GroupRelative, ProcessRelative, Signals, TurnToGo

P, SIZE, MOST = Fraction(1, 2), 4, 3
GO_ON, ENDS = Fraction(3, 10), (Fraction(2, 10), Fraction(1, 10), Fraction(5, 10), Fraction(6, 10))


@dataclass(frozen=True)
class Way:
    """What can happen to a completion."""

    probability: Fraction
    scores: tuple[Fraction, ...]
    """One a turn."""
    slopes: tuple[Fraction, ...]
    """∂ log π / ∂p, one a turn."""


def ways() -> list[Way]:
    """All of them."""
    found = []
    for gone_on in range(MOST):
        scores = (*[GO_ON] * gone_on, ENDS[gone_on])
        found.append(Way(P**gone_on * (1 - P), scores, (*[1 / P] * gone_on, -1 / (1 - P))))
    last = (*[GO_ON] * (MOST - 1), GO_ON + ENDS[MOST])
    return [*found, Way(P**MOST, last, (1 / P,) * MOST)]


GROUPS = list(itertools.product(ways(), repeat=SIZE))


def signals() -> Signals:
    """Every group there can be; a turn is one sampled token, and one that is heard stands between two turns."""
    rows = [way for group in GROUPS for way in group]
    rewards, mask = torch.zeros(len(rows), 2 * MOST - 1).double(), torch.zeros(len(rows), 2 * MOST - 1).bool()
    for row, way in enumerate(rows):
        for turn, score in enumerate(way.scores):
            rewards[row, 2 * turn], mask[row, 2 * turn] = float(score), True
    group = torch.arange(len(GROUPS)).repeat_interleave(SIZE)
    return Signals(mask, group, rewards, mask, torch.ones(len(rows)).bool(), tokens=torch.ones(mask.shape).long())


def expected(advantages: Tensor) -> float:
    """Of ``[B, T]``: the mean over all groups, each as likely as its four completions are."""
    rows, total = advantages[:, ::2].tolist(), 0.0
    for number, group in enumerate(GROUPS):
        chance = float(torch.tensor([float(way.probability) for way in group]).double().prod())
        of_group = zip(group, rows[number * SIZE : (number + 1) * SIZE], strict=True)
        pushes = [a * float(slope) for way, row in of_group for a, slope in zip(row, way.slopes, strict=False)]
        total += chance * sum(pushes) / SIZE
    return total


def true_gradient() -> Fraction:
    """Σ P(way) · R(way) · ∂ log P(way) / ∂p."""
    return sum((way.probability * sum(way.scores) * sum(way.slopes) for way in ways()), Fraction(0))


def steps_less_the_exact_mean() -> Fraction:
    """Step scores less the mean of all that the policy takes, summed to go: what is left in groups without end."""
    steps = sum(way.probability * len(way.scores) for way in ways())
    mean = sum((way.probability * sum(way.scores) for way in ways()), Fraction(0)) / steps
    total = Fraction(0)
    for way in ways():
        to_go = [sum(score - mean for score in way.scores[turn:]) for turn in range(len(way.scores))]
        total += way.probability * sum(a * slope for a, slope in zip(to_go, way.slopes, strict=True))
    return total


def pooled_steps(given: Signals) -> Tensor:
    """``ProcessRelative`` times the standard deviation that it divides by."""
    spreads = []
    for group in GROUPS:
        scores = torch.tensor([float(score) for way in group for score in way.scores]).double()
        spreads.append(float(scores.std(correction=0)))
    spread = torch.tensor(spreads).double().repeat_interleave(SIZE)[:, None]
    return ProcessRelative(ddof=0).advantages(given) * spread


def centred_by_index(given: Signals) -> Tensor:
    """Rewards less the mean of the group's at the same turn, over those that have it, summed to go (MT-GRPO)."""
    placed = torch.zeros_like(given.rewards)
    for number in range(len(GROUPS)):
        rows = slice(number * SIZE, (number + 1) * SIZE)
        for place in range(0, given.mask.shape[1], 2):
            there = given.mask[rows, place]
            scores = given.rewards[rows, place]
            if there.any():
                placed[rows, place] = torch.where(there, scores - scores[there].mean(), 0.0)
    return placed.flip(1).cumsum(1).flip(1) * given.mask


ESTIMATORS: dict[str, Callable[[Signals], Tensor]] = {
    "outcome: the sum of the scores less the mean of the others'": GroupRelative("none", baseline="others").advantages,
    "TurnToGo: what is to come less the mean of the others that reached the turn": TurnToGo().advantages,
    "ProcessRelative without its division: all step scores pooled": pooled_steps,
    "MT-GRPO: scores centred turn by turn": centred_by_index,
}


def measured() -> dict[str, float]:
    """Every estimator's expected gradient by its name."""
    given = signals()
    found = {name: expected(advantages(given)) for name, advantages in ESTIMATORS.items()}
    exact = {
        "the derivative of the mean reward": float(true_gradient()),
        "pooled step scores, with the exact mean in place of the group's": float(steps_less_the_exact_mean()),
    }
    return exact | found


if __name__ == "__main__":
    result = {"p": float(P), "group_size": SIZE, "gradient": measured()}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, value in result["gradient"].items():
        print(f"{value:.6f}  {name}")
