"""This module says what a step's episodes were like: how many turns they had, why they ended, what tools were asked,
and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from groupwise.environments.protocol import TOOLS
from groupwise.types import Rollout, Stop


@dataclass
class WorldTime:
    """Seconds that environments took, and in which nothing was drawn meanwhile."""

    seconds: float = 0.0
    """Of all episodes, side by side or not."""
    waiting: float = 0.0
    """In which every episode under way waited for its environment."""


def episode_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over episodes and shares of them, as docs/metrics.md names them; of rollouts without an environment
    nothing."""
    played = [rollout for rollout in rollouts if rollout.stop is not None]
    if not played:
        return {}
    count = len(played)
    metrics = {"turns": sum(len(rollout.turns) for rollout in played) / count}
    metrics |= {f"stops/{stop}": sum(each.stop == stop for each in played) / count for stop in get_args(Stop)}
    metrics["tokens/observed"] = sum(rollout.mask.count(False) for rollout in played) / count
    said = [
        {name: number for score in each.scores.values() for name, number in score.logged.items()} for each in played
    ]
    for name in sorted({name for numbers in said for name in numbers if name.startswith(TOOLS)}):
        metrics[name] = sum(numbers.get(name, 0.0) for numbers in said) / count
    return metrics
