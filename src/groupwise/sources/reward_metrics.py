"""This module says which groups have something to say, and what rewards look like in a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from groupwise.algorithm import Algorithm
from groupwise.types import Group, Rollout
from groupwise.values.tolerance import differ, in_range


# What follows is recorded with each run by its text, so another docstring would be another recipe to runs that go on.
def informative(group: Group) -> bool:
    """Says whether the rewards of a group differ."""
    return group.informative


def mixed(group: Group) -> bool:
    """Says whether some answers are right and some wrong by the task's judge alone (DAPO, arXiv 2503.14476).

    What further rewards say, of length or format, does not count; nor does an answer that the judge could not score.
    """
    return {rollout.correct for rollout in group.rollouts} >= {True, False}


def steps_differ(group: Group) -> bool:
    """Says whether a group has a signal for process supervision: the scores of all its steps differ, whatever they sum
    to."""
    return differ(value for rollout in group.rollouts for value in rollout.rewards.values())


def parts_differ(group: Group) -> bool:
    """Says whether a group has a signal for a method that normalises each reward by itself: one of them differs,
    whatever they sum to."""
    scored = [rollout for rollout in group.rollouts if rollout.reward is not None]
    names = {name for rollout in scored for name in rollout.scores}
    return any(differ(_values(scored, name)) for name in names) if names else group.informative


def turns_differ(group: Group) -> bool:
    """Says whether a method that compares turns has something to compare: of those who reached a turn, what was still
    to come differs; or one alone reached it, and something was."""
    to_come = [_to_come(rollout) for rollout in group.rollouts if rollout.reward is not None]
    for turn in range(max(map(len, to_come), default=0)):
        reached = [values[turn] for values in to_come if len(values) > turn]
        if differ(reached) or (len(reached) == 1 < len(to_come) and reached[0]):
            return True
    return False


def _to_come(rollout: Rollout) -> list[float]:
    """Returns the sum of the rewards from each turn on, a run of tokens that the policy sampled."""
    before = (False, *rollout.mask)
    begins = [place for place, sampled in enumerate(rollout.mask) if sampled and not before[place]]
    return [sum(value for place, value in rollout.rewards.items() if place >= begin) for begin in begins]


def signal_of(algorithm: Algorithm) -> Callable[[Group], bool]:
    """Says which groups have a signal: those in which the algorithm's advantage sees differences."""
    seen = {"sum": informative, "steps": steps_differ, "parts": parts_differ, "verdicts": mixed, "turns": turns_differ}
    return seen[algorithm.advantage.sees()]


def reward_metrics(groups: list[Group], signal: Callable[[Group], bool] = informative) -> dict[str, float]:
    """Returns ``reward``; and of groups of several ``reward_std`` (mean of their own, Bessel) and the share without
    signal."""
    rewards = [[r.reward for r in group.rollouts if r.reward is not None] for group in groups]
    flat = [value for group in rewards for value in group]
    metrics = {"reward": _mean(flat)} if flat else {}
    if all(len(group.rollouts) == 1 for group in groups):
        return metrics
    stds = [_std(group) for group in rewards if len(group) > 1]
    if stds:
        metrics["reward_std"] = _mean(stds)
    return metrics | {"frac_reward_zero_std": sum(not signal(group) for group in groups) / len(groups)}


def _values(rollouts: Sequence[Rollout], name: str) -> list[float]:
    scores = (rollout.scores.get(name) for rollout in rollouts)
    return [score.value for score in scores if score is not None and score.value is not None]


def _mean(values: Sequence[float]) -> float:
    scaled, factor = in_range(values)
    return sum(scaled) / len(scaled) / factor


def _std(values: Sequence[float]) -> float:
    """Computes the standard deviation; 0 where they are equal but for rounding."""
    if not differ(values):
        return 0.0
    scaled, factor = in_range(values)
    mean = sum(scaled) / len(scaled)
    return (sum((value - mean) ** 2 for value in scaled) / (len(scaled) - 1)) ** 0.5 / factor
