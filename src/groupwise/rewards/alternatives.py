"""This module knows rows with several reference answers, each right by itself: a reward asked about one after the
other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from groupwise.protocols import ReadsGold, Reward
from groupwise.rewards.decorator import Decorator
from groupwise.rewards.scoring import scores_at
from groupwise.rewards.verdicts import unwrap
from groupwise.types import OVER, Example, Rollout, Score, TrainerState


def any_of(reward: Reward) -> Reward:
    """The reward, where it reads reference answers, as one that takes the best of a row's several. Other rewards
    receive the row's own columns and stay as they are."""
    return AnyAnswer(reward) if isinstance(unwrap(reward), ReadsGold) else reward


@dataclass(frozen=True)
class AnyAnswer(Decorator):
    """A reward that reads reference answers: a completion has the score of the answer that it fits best."""

    reward: Reward

    @property
    def name(self) -> str:
        """Is the name of the reward that it asks."""
        return self.reward.name

    @property
    def weight(self) -> float:
        """Is the weight of the reward that it asks."""
        return self.reward.weight

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Scores rollouts as ``score_at`` does once training is over."""
        return self.score_at(rollouts, OVER)

    def score_at(self, rollouts: Sequence[Rollout], state: TrainerState) -> list[Score]:
        """Returns of each the highest score by any answer of its row; the first where none has a value."""
        asked = [(row, answer) for row, rollout in enumerate(rollouts) for answer in answers(rollout.prompt.example)]
        scores = scores_at(self.reward, [_with_answer(rollouts[row], answer) for row, answer in asked], state)
        found: dict[int, Score] = {}
        for (row, _), score in zip(asked, scores, strict=True):
            if row not in found or _value(score) > _value(found[row]):
                found[row] = score
        return [found[row] for row in range(len(rollouts))]

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        """Returns of each the first reason where none of its answers can be read."""
        if not isinstance(self.reward, ReadsGold):
            return [""] * len(examples)
        asked = [(row, answer) for row, example in enumerate(examples) for answer in answers(example)]
        reasons = self.reward.unreadable([replace(examples[row], answer=answer) for row, answer in asked])
        found: dict[int, str] = {}
        for (row, _), reason in zip(asked, reasons, strict=True):
            found[row] = reason and found.get(row, reason)
        return [found[row] for row in range(len(examples))]


def answers(example: Example) -> Iterable[str | None]:
    """The row's reference answer and its alternatives."""
    return (example.answer, *example.alternatives)


def _with_answer(rollout: Rollout, answer: str | None) -> Rollout:
    example = replace(rollout.prompt.example, answer=answer)
    return replace(rollout, prompt=replace(rollout.prompt, example=example))


def _value(score: Score) -> float:
    return float("-inf") if score.value is None else score.value
