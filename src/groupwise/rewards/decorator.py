"""A reward around another one says of itself what that one says: which answers vote alike, what it can read, when an
answer is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from groupwise.protocols import ReadsGold, Reward, StepScoring, Votes
from groupwise.rewards.scoring import NeedsGuards, prepare, scores_at
from groupwise.rewards.verdicts import Graded
from groupwise.types import Example, Rollout, Score, TrainerState


class Decorator(Protocol):
    """A decorator hands all that a reward may do beside scoring on to ``reward``; what that one cannot do is done
    neutrally.

    Whether it *can* do something is asked of the reward itself (``verdicts.bare``).
    """

    reward: Reward

    def prepare(self) -> None:
        """See ``scoring.NeedsPreparation``."""
        prepare([self.reward])

    def score_at(self, rollouts: Sequence[Rollout], state: TrainerState) -> list[Score]:
        """See ``protocols.FollowsTraining``."""
        return scores_at(self.reward, rollouts, state)

    @property
    def unguarded(self) -> bool:
        """See ``scoring.NeedsGuards``."""
        return isinstance(self.reward, NeedsGuards) and self.reward.unguarded

    @property
    def correct_at(self) -> float | None:
        """See ``verdicts.Graded``."""
        return self.reward.correct_at if isinstance(self.reward, Graded) else None

    @property
    def scores_steps(self) -> bool:
        """See ``protocols.StepScoring``."""
        return isinstance(self.reward, StepScoring) and self.reward.scores_steps

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """See ``protocols.Votes``; of a reward that knows no equal answers no rollout has one."""
        return self.reward.votes(rollouts) if isinstance(self.reward, Votes) else [None] * len(rollouts)

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """See ``protocols.ReadsGold``; a reward that reads no reference answer has no complaint."""
        return self.reward.unreadable(examples) if isinstance(self.reward, ReadsGold) else [""] * len(examples)
