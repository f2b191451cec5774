"""A reward with another weight, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from groupwise.protocols import Reward
from groupwise.rewards.cache import Cached
from groupwise.rewards.decorator import Decorator
from groupwise.types import Rollout, Score


@dataclass(frozen=True)
class Weighted(Decorator):
    """This is ``reward`` with a weight that it does not take itself."""

    reward: Reward
    weight: float

    @property
    def name(self) -> str:
        """Is the name of the reward inside."""
        return self.reward.name

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Returns the scores of the reward inside; the weight is applied where rewards are summed."""
        return self.reward.score(rollouts)


def weighted(reward: Reward, weight: float) -> Reward:
    """The same reward with that weight, which may be negative: then it is a penalty."""
    if isinstance(reward, Cached):
        return replace(reward, reward=weighted(reward.reward, weight))
    found: Any = reward
    if is_dataclass(found) and any(field.name == "weight" and field.init for field in fields(found)):
        changed: Any = replace(found, weight=weight)  # type: ignore[type-var]
        return changed  # type: ignore[no-any-return]
    return Weighted(reward, weight)
