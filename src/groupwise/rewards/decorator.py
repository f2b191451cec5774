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
        """Prepares the reward inside (``scoring.NeedsPreparation``)."""
        prepare([self.reward])

    def score_at(self, rollouts: Sequence[Rollout], state: TrainerState) -> list[Score]:
        """Scores rollouts at a moment of training (``protocols.FollowsTraining``)."""
        return scores_at(self.reward, rollouts, state)

    @property
    def unguarded(self) -> bool:
        """Says whether the reward inside runs without guards (``scoring.NeedsGuards``)."""
        return isinstance(self.reward, NeedsGuards) and self.reward.unguarded

    @property
    def correct_at(self) -> float | None:
        """Is the reward's own smallest score of a right answer (``verdicts.Graded``); None where it names none."""
        return self.reward.correct_at if isinstance(self.reward, Graded) else None

    @property
    def scores_steps(self) -> bool:
        """Says whether the reward inside scores each step (``protocols.StepScoring``)."""
        return isinstance(self.reward, StepScoring) and self.reward.scores_steps

    def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
        """Returns which rollouts gave the same answer (``protocols.Votes``); None for each where the reward knows no
        equal answers."""
        return self.reward.votes(rollouts) if isinstance(self.reward, Votes) else [None] * len(rollouts)

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """Returns a complaint for each reference answer that cannot be read (``protocols.ReadsGold``), empty for the
        others; a reward that reads none has no complaint."""
        return self.reward.unreadable(examples) if isinstance(self.reward, ReadsGold) else [""] * len(examples)
