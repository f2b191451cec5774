"""This module says whether an answer is right, and which answers are the same: one judge, who asks one reward and
nobody else.

A task's judge is the first reward of its ``referee``, else its first reward. What other rewards say, of length, of
format or of anything else, can make no answer right or wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Protocol, runtime_checkable

from groupwise.errors import UserError
from groupwise.protocols import Reward, Votes
from groupwise.types import Rollout, Score
from groupwise.values.tolerance import reaches

CORRECT_AT = 1.0
"""Of a reward that does not say itself from which score on an answer is right."""
NEVER = math.nan
"""``correct_at`` of a reward whose scores only compare answers: none of them makes one right."""
RIGHT = "right"
"""What right answers vote for, all of them."""


@runtime_checkable
class Graded(Protocol):
    """A reward that says from which score on an answer is right."""

    @property
    def correct_at(self) -> float | None:
        """Is the smallest score of a right answer, before weighting; None: 1, as of a reward that does not say; NEVER:
        there is none."""
        ...


@runtime_checkable
class Wrapper(Protocol):
    """A reward around another, which says what that one says: kept, or weighted otherwise."""

    @property
    def reward(self) -> Reward:
        """Returns the reward inside."""


def unwrap(reward: Reward) -> Reward:
    """The reward itself, without what is around it."""
    while isinstance(reward, Wrapper) and isinstance(reward.reward, Reward):
        reward = reward.reward
    return reward


def correct_at(reward: Reward) -> float:
    """Returns the smallest score of a right answer: what the reward states, or 1."""
    asked = unwrap(reward)
    stated = asked.correct_at if isinstance(asked, Graded) else None
    return CORRECT_AT if stated is None else stated


def equal_reward(reward: Reward, rewards: Sequence[Reward]) -> Reward | None:
    """Returns which of ``rewards`` it is, whatever its weight there; None where it is none of them."""
    return next((each for each in rewards if each is reward or _unweighted(each) == _unweighted(reward)), None)


def _unweighted(reward: Reward) -> Any:
    fixed = is_dataclass(reward) and "weight" in reward.__dataclass_fields__
    return replace(reward, weight=1.0) if fixed else reward  # type: ignore[type-var]


@dataclass(frozen=True)
class Judge:
    """Says whether an answer is right: where ``reward`` itself, before weighting, gives it ``threshold`` or more."""

    reward: Reward
    threshold: float

    @classmethod
    def of(cls, reward: Reward) -> Judge:
        """Makes a judge with the reward's own threshold."""
        return cls(reward, correct_at(reward))

    @property
    def name(self) -> str:
        """Returns the name of the reward that judges."""
        return self.reward.name

    @property
    def can_tell(self) -> bool:
        """Says whether any score of its reward means that an answer is right."""
        return not math.isnan(self.threshold)

    @staticmethod
    def value(score: Score) -> float | None:
        """Returns what a verdict goes by: the score's value, or of a score that is of steps alone the lowest."""
        return min(score.steps.values(), default=None) if score.value is None else score.value

    def highest(self, rollouts: Sequence[Rollout]) -> float | None:
        """The highest value among scored rollouts; None where there is none."""
        values = [self.value(rollout.scores[self.name]) for rollout in rollouts]
        return max((value for value in values if value is not None), default=None)

    def verdict(self, score: Score) -> bool | None:
        """Says whether the answer with this score, one of the reward's, is right; None where it could not be scored."""
        if score.right is not None:
            return score.right
        value = self.value(score)
        return None if value is None or not self.can_tell else reaches(value, self.threshold)

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None] | None:
        """Returns what the reward says of the rollouts of one prompt (``protocols.Votes``); None where it says nothing.

        Raises UserError where it says another number of votes than there are rollouts.
        """
        asked = unwrap(self.reward)
        if not isinstance(asked, Votes):
            return None
        said = asked.votes(rollouts)
        if len(said) != len(rollouts):
            raise UserError(f"reward '{self.name}' returned {len(said)} votes for {len(rollouts)} completions")
        return said
