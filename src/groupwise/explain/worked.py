"""This module has small examples that come with the command: made of numbers that a method needs, whatever the
method."""

from __future__ import annotations

import math
from collections.abc import Sequence

from groupwise.algorithm import Algorithm, TeacherGap
from groupwise.explain.case import Case, Response

LOGPROBS = ((-0.4, -0.9), (-1.2, -0.3, -0.7), (-0.6, -1.5), (-0.2,))
MOVED = ((0.3, 0.1), (0.25, -0.1, 0.0), (-0.35, 0.05), (-0.1,))  # log π_θ - log π_old
APART = ((0.1, -0.2), (0.0, 0.3, -0.1), (0.2, 0.0), (-0.3,))  # log π_ref - log π_θ
VALUES = ((0.4, 0.6), (0.3, 0.3, 0.1), (0.2, 0.3), (0.5,))
SCORES = ((0.4, 1.3), (1.1, -0.2, 0.6), (-0.5, -0.9), (0.3,))  # a scorer's, of any sign
REWARDS = (1.0, 0.0, 0.0, 1.0)


def worked_case(pair: bool = False, scores: bool = False) -> Case:
    """One prompt with four completions of 2, 3, 2 and 1 tokens, two of them right, seen at a second update: the policy
    has moved since it drew them. ``pair``: the first two alone, a right one and a wrong one. ``scores``: as a scorer
    sees them."""
    responses = []
    for said, logprobs, moved, apart, values, reward in zip(
        SCORES if scores else LOGPROBS, LOGPROBS, MOVED, APART, VALUES, REWARDS, strict=True
    ):
        old = _less(logprobs, moved)
        responses.append(
            Response(
                logprobs=said,
                lists={
                    "old_logprobs": old,
                    "behavior_logprobs": [value - 0.05 for value in old],
                    "reference_logprobs": _less(logprobs, [-value for value in apart]),
                    "values": values,
                    "entropy": [0.5] * len(logprobs),
                    "exact_kl": [0.02] * len(logprobs),
                },
                reward=reward,
                step_rewards=_steps(len(logprobs), reward),
            )
        )
    return Case([responses[:2] if pair else responses], [0.5], name="the worked example")


def _less(values: Sequence[float], moved: Sequence[float]) -> list[float]:
    return [round(value - by, 10) for value, by in zip(values, moved, strict=True)]


def _steps(length: int, score: float) -> dict[int, float]:
    """The last step has the completion's own score; one half-way is half right."""
    return ({(length - 1) // 2: 0.5} if length > 1 else {}) | {length - 1: score}


def scenario(answers: Sequence[tuple[bool, int, bool]], algorithm: Algorithm) -> Case:
    """Makes completions, each ``(right, tokens, truncated)``, at the first update of a draw: π_θ = π_old = π_ref.

    All are of one prompt where the source samples several, else of a prompt each. The greedy completion is half right,
    and a critic has learned the share of right answers. A teacher finds each token of a right answer twice as likely
    as the policy does, of a wrong one half.
    """
    share = sum(right for right, _, _ in answers) / len(answers)
    gap = math.log(2) if isinstance(algorithm.advantage, TeacherGap) else 0.0
    responses = [_plain(*answer, share, gap if answer[0] else -gap) for answer in answers]
    groups = [[response] for response in responses] if alone(algorithm) else [responses]
    return Case(groups, [0.5] * len(groups), name="a small example")


def alone(algorithm: Algorithm) -> bool:
    """Says whether every prompt has one completion only."""
    source = algorithm.source
    several = source.sampled_by() == "another" or source.labels_steps()
    return not several and source.completions_per_prompt() == 1


def _plain(right: bool, length: int, truncated: bool, share: float, gap: float) -> Response:
    same, score = [-1.0] * length, float(right)
    lists = {"old_logprobs": same, "behavior_logprobs": same, "reference_logprobs": [-1.0 + gap] * length}
    return Response(
        logprobs=same,
        lists=lists | {"values": [share] * length, "entropy": [0.5] * length, "exact_kl": [0.0] * length},
        reward=score,
        step_rewards=dict.fromkeys(sorted({(length - 1) // 2, length - 1}), score),
        truncated=truncated,
    )
