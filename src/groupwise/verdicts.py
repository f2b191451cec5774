"""Whether an answer is right: one judge, who asks one reward and nobody else.

A task's judge is the first reward of its ``referee``, else its first reward. What other rewards say, of length, of
format or of anything else, can make no answer right or wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from groupwise.protocols import Reward
from groupwise.tolerance import reaches
from groupwise.types import Score

CORRECT_AT = 1.0
"""Of a reward that does not say itself from which score on an answer is right."""


@runtime_checkable
class Graded(Protocol):
    """A reward that says from which score on an answer is right."""

    @property
    def correct_at(self) -> float | None:
        """The smallest score of a right answer, before weighting; None: 1, as of a reward that does not say."""
        ...


def correct_at(reward: Reward) -> float:
    """The smallest score of a right answer: what the reward states, or 1."""
    stated = reward.correct_at if isinstance(reward, Graded) else None
    return CORRECT_AT if stated is None else stated


@dataclass(frozen=True)
class Judge:
    """Says whether an answer is right: where ``reward`` itself, before weighting, gives it ``threshold`` or more."""

    reward: Reward
    threshold: float

    @classmethod
    def of(cls, reward: Reward) -> Judge:
        """With the reward's own threshold."""
        return cls(reward, correct_at(reward))

    @property
    def name(self) -> str:
        """The reward's."""
        return self.reward.name

    def verdict(self, score: Score) -> bool | None:
        """Whether the answer with this score, one of the reward's, is right; None where it could not be scored.

        Of a score that is of steps alone the lowest counts.
        """
        value = min(score.steps.values(), default=None) if score.value is None else score.value
        return None if value is None else reaches(value, self.threshold)
