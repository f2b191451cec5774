"""This module says who judges an evaluation, and which of a problem's sampled answers are the same answer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from groupwise.errors import UserError
from groupwise.protocols import Votes
from groupwise.rewards.verdicts import RIGHT, Judge, unwrap
from groupwise.tasks.task import Task
from groupwise.types import Rollout

Canonical = Callable[[Rollout], Hashable | None]
"""The answer that a completion votes for; None: it votes for nothing."""


def voting_judge(task: Task, correct_at: float | None = None) -> Judge:
    """The task's judge, with the threshold ``correct_at`` where one is given.

    Raises UserError where there is none, and where its scores cannot tell right from wrong.
    """
    judge = task.judge
    if judge is None:
        raise UserError(f"task {task.name!r} has no rewards, so nothing says which answers are correct: give it one")
    if correct_at is not None:
        judge = replace(judge, threshold=correct_at)
    if not judge.can_tell:
        raise UserError(
            f"task {task.name!r}: its judge is the reward '{judge.name}', whose scores compare answers and make none "
            "right; name another judge (--judge, or Task.referee), or say with correct_at from which score on one is"
        )
    return judge


def can_vote(judge: Judge) -> bool:
    """Says whether it knows which answers are the same, so that there is a maj@k."""
    return isinstance(unwrap(judge.reward), Votes)


def candidates(
    judge: Judge, rollouts: Sequence[Rollout], canonical: Canonical | None = None
) -> list[Hashable | None] | None:
    """Returns for each of the judged rollouts of one prompt the candidate that it votes for, None where it has no
    answer; None in all where nothing knows which answers are the same.

    That is the judge's reward (``protocols.Votes``), or ``canonical`` where it is given. The verdict comes first: all
    right answers are one candidate, and no wrong answer is among its voters.
    """
    if canonical is not None:
        said = [canonical(rollout) for rollout in rollouts]
        return [vote if vote is None else _joined(vote, rollout) for vote, rollout in zip(said, rollouts, strict=True)]
    votes: Sequence[Hashable | None] | None = judge.votes(rollouts)
    if votes is None:
        return None
    return [_joined(vote, rollout) for vote, rollout in zip(votes, rollouts, strict=True)]


def _joined(vote: Hashable | None, rollout: Rollout) -> Hashable | None:
    return RIGHT if rollout.correct else vote
