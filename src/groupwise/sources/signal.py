"""Which groups have something to say, and what rewards look like in a step."""

from __future__ import annotations

from groupwise.types import Group

RIGHT = 1.0
"""An answer is right where its reward is at least this, as in evaluation."""


def informative(group: Group) -> bool:
    """Signal: rewards differ."""
    return group.informative


def mixed(group: Group) -> bool:
    """Signal: some answers are right and some wrong by the task's first reward alone (DAPO, arXiv 2503.14476).

    What further rewards say, of length or format, does not count; nor does an answer that the first could not score.
    """
    first = [next(iter(rollout.scores.values()), None) for rollout in group.rollouts]
    right = {score.value >= RIGHT for score in first if score is not None and score.value is not None}
    return len(right) == 2


def reward_metrics(groups: list[Group]) -> dict[str, float]:
    """``reward``; and of groups of several ``reward_std`` (mean of their own, Bessel) and the share without signal."""
    rewards = [[r.reward for r in group.rollouts if r.reward is not None] for group in groups]
    flat = [value for group in rewards for value in group]
    metrics = {"reward": sum(flat) / len(flat)} if flat else {}
    if all(len(group.rollouts) == 1 for group in groups):
        return metrics
    stds = [_std(group) for group in rewards if len(group) > 1]
    if stds:
        metrics["reward_std"] = sum(stds) / len(stds)
    return metrics | {"frac_reward_zero_std": sum(not group.informative for group in groups) / len(groups)}


def _std(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
