"""This module estimates how many groups will have no signal: from the rewards of a few groups, for any group size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb, exp, inf, lgamma

from groupwise.algorithm import Algorithm
from groupwise.evaluation.statistics import Interval, mean_interval
from groupwise.types import Group, Rollout
from groupwise.values.tolerance import classes, differ

SIZES = (2, 4, 8, 16, 32, 64)


def kinds(groups: Sequence[Group], algorithm: Algorithm) -> list[list[int]]:
    """Returns for each probed prompt a number for each scored completion: those with one number give each other no
    signal, as the algorithm's advantage sees them. One whose own steps differ has a number that no other has."""
    scored = [[rollout for rollout in group.rollouts if rollout.reward is not None] for group in groups]
    flat = [rollout for rollouts in scored for rollout in rollouts]
    numbers = iter(_kinds(flat, algorithm))
    return [[next(numbers) for _ in rollouts] for rollouts in scored]


def _kinds(rollouts: Sequence[Rollout], algorithm: Algorithm) -> list[int]:
    seen = algorithm.advantage.sees()
    if seen == "steps":
        found = classes([next(iter(rollout.rewards.values())) for rollout in rollouts])
        return [-1 - row if differ(rollout.rewards.values()) else found[row] for row, rollout in enumerate(rollouts)]
    if seen == "verdicts":
        return [-1 if rollout.correct is None else int(rollout.correct) for rollout in rollouts]
    names = sorted({name for rollout in rollouts for name in rollout.scores})
    if seen == "sum" or not names:
        return classes([rollout.reward or 0.0 for rollout in rollouts])
    columns = [classes([_value(rollout, name) for rollout in rollouts]) for name in names]
    rows = list(zip(*columns, strict=True))
    order = {row: number for number, row in enumerate(dict.fromkeys(rows))}
    return [order[row] for row in rows]


def _value(rollout: Rollout, name: str) -> float:
    """Minus infinity where the reward does not apply."""
    score = rollout.scores.get(name)
    return -inf if score is None or score.value is None else score.value


def share_without_signal(groups: Sequence[Sequence[float]], size: int) -> Interval | None:
    """Returns the expected share of groups of ``size`` whose rewards are all equal, with its 95 % interval over
    prompts.

    ``groups`` are the rewards of each probed prompt. For right and wrong answers it is the mean over prompts of
    p^G + (1-p)^G. Up to as many completions as were sampled, C(c, G)/C(n, G) summed over the rewards that occur is an
    unbiased estimate of it, whatever the rewards are. Beyond, it is the mean under the posterior of p after a
    Jeffreys prior, Beta(c + 1/2, n - c + 1/2), but never more than of a smaller group, for rewards of two kinds; None
    for others.
    """
    kinds = len({reward for group in groups for reward in group})
    shares = [_share(group, size, kinds) for group in groups if len(group) > 1]
    known = [share for share in shares if share is not None]
    return mean_interval(known) if known and len(known) == len(shares) else None


def _share(rewards: Sequence[float], size: int, kinds: int) -> float | None:
    counts, n = Counter(rewards), len(rewards)
    if size <= n:
        return sum(comb(count, size) for count in counts.values()) / comb(n, size)
    if kinds > 2:
        return None
    c = counts.most_common(1)[0][1]
    whole = sum(comb(count, n) for count in counts.values())  # of a group as large as what was sampled
    return min(float(whole), _power(c, n - c, size) + _power(n - c, c, size))


def _power(right: int, wrong: int, size: int) -> float:
    """The mean of p^size under Beta(right + 1/2, wrong + 1/2)."""
    a, b = right + 0.5, wrong + 0.5
    return exp(lgamma(a + size) - lgamma(a) + lgamma(a + b) - lgamma(a + b + size))
