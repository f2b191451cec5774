"""This module chooses among sampled answers with a scorer: best-of-N and weighted voting (Math-Shepherd, arXiv
2312.08935, section 3.4), beside majority voting and the chance that any is right.

A solution's score is its weakest step's (``rewards.solution_score``); with self-consistency the answer is
``argmax_a sum_i I(a_i = a) * score_i``. Ties are split uniformly, as in ``statistics.maj_at_k``: the only rule that
does not depend on the order of the samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.evaluation.measure import Measure
from groupwise.evaluation.statistics import Interval, doubling, maj_at_k, mean, paired_difference
from groupwise.evaluation.voting import Canonical, candidates
from groupwise.output.counting import counted, signed
from groupwise.protocols import Reward
from groupwise.rewards.model import ModelReward
from groupwise.rewards.scale import sigmoid
from groupwise.rewards.verdicts import Judge, unwrap
from groupwise.types import Rollout
from groupwise.values.tolerance import classes, same


def weighted_totals(answers: Sequence[Hashable | None], scores: Sequence[float]) -> dict[Hashable | None, float]:
    """Returns for each answer the sum of the scores of those who gave it. Raises ValueError unless each has a score of
    at least 0."""
    if len(answers) != len(scores) or not all(score >= 0 for score in scores):
        raise ValueError(f"a weighted vote needs a score of at least 0 for each of {counted(len(answers), 'answer')}")
    given: dict[Hashable | None, list[float]] = {}
    for answer, score in zip(answers, scores, strict=True):
        given.setdefault(answer, []).append(score)
    return {answer: math.fsum(own) for answer, own in given.items()}


def weighted_vote(answers: Sequence[Hashable | None], correct: Sequence[bool], scores: Sequence[float]) -> float:
    """Returns the chance that the answer with the largest sum of scores is right. None is one answer that never is."""
    totals = weighted_totals(answers, scores)
    right = {answer for answer, ok in zip(answers, correct, strict=True) if ok and answer is not None}
    return _share_of_best(list(totals.values()), [answer in right for answer in totals])


def best_of(correct: Sequence[bool], scores: Sequence[float]) -> float:
    """Returns the chance that the sample with the highest score is right."""
    return _share_of_best(scores, correct)


def best_of_k(correct: Sequence[bool], scores: Sequence[float], k: int) -> float:
    """Returns ``best_of`` k samples: the exact mean over all k-subsets of the n samples. Raises ValueError unless ``1
    <= k <= n``."""
    n = len(scores)
    if len(correct) != n or not 1 <= k <= n:
        raise ValueError(f"best-of-k needs 1 <= k <= n: got {n} scores, {len(correct)} verdicts, k={k}")
    chance, below = 0.0, 0
    levels = classes(scores)
    for level in sorted(set(levels)):
        own = [ok for ok, at in zip(correct, levels, strict=True) if at == level]
        highest = math.comb(below + len(own), k) - math.comb(below, k)  # subsets whose best score is this one
        chance += highest * sum(own) / len(own)
        below += len(own)
    return chance / math.comb(n, k)


@dataclass(frozen=True)
class Verification:
    """This says how often each way of choosing is right, over problems, with 95 % intervals."""

    scorer: str
    problems: int
    samples: int
    """Of each problem; the smallest number where they differ in it."""
    first: Measure
    """A sample by itself (pass@1)."""
    majority: Measure | None
    """None, as what is made of votes, where the judge does not know which answers are the same."""
    best_of: Measure
    weighted_vote: Measure | None
    any_right: Measure
    """What a perfect scorer would reach (pass@N)."""
    best_of_against_majority: Interval | None
    """Paired over problems; above 0: the scorer chooses better than counting does."""
    vote_against_majority: Interval | None
    best_of_at: Mapping[int, Measure]
    """k -> best of k samples; 1, 2, 4 ... ``samples``."""
    unscored_fraction: float
    """Share of the samples that the scorer gave no value: they are never best and have no weight."""

    @property
    def sentence(self) -> str:
        """Says whether the scorer chooses better than counting does, with intervals."""

        def said(change: Interval) -> str:
            verdict = "better" if change.low > 0 else "worse" if change.high < 0 else "no difference shown"
            return f"{verdict} ({signed(change.value)} [{signed(change.low)}, {signed(change.high)}])"

        unscored = f" {self.unscored_fraction:.1%} of the samples got no score from it." * bool(self.unscored_fraction)
        if self.best_of_against_majority is None or self.vote_against_majority is None:
            choice = (
                f"best of {self.samples} is right on {self.best_of.value:.3f} of {counted(self.problems, 'problem')}"
            )
            return f"{self.scorer}: {choice}; there is no majority vote to set beside it.{unscored}"
        on = f"{self.samples} on {counted(self.problems, 'problem')}"
        return (
            f"{self.scorer} against the majority vote of {on}: best of "
            f"{self.samples} {said(self.best_of_against_majority)}, weighted vote {said(self.vote_against_majority)}."
            f"{unscored}"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that ``json.dumps`` takes."""
        return asdict(self)


def verify(
    problems: Sequence[Sequence[Rollout]],
    scorer: Reward,
    judge: Judge,
    canonical: Canonical | None = None,
    weight: Callable[[float], float] | None = None,
) -> Verification:
    """Scores the samples of each problem and chooses among them in every way.

    ``problems``: each one's rollouts, with the verdict of ``judge``, whose votes (or those of ``canonical``) are
    counted as in ``evaluation.evaluate``. ``weight`` makes a vote's weight of a score; None: of an outcome model, whose
    scores are logits, the ``sigmoid``, of any other scorer the score itself. Raises UserError where there are no
    samples, or a weight is negative.
    """
    if not problems or not all(problems):
        raise UserError("verification needs problems with at least one sample each; sample some first")
    values = [score.value for score in scorer.score([rollout for rollouts in problems for rollout in rollouts])]
    rest, weigh = iter(values), weight or _usual_weight(scorer)
    rows = [
        _Problem.of(each, [next(rest) for _ in each], candidates(judge, each, canonical), weigh) for each in problems
    ]
    negative = min(value for row in rows for value in row.weights)
    if negative < 0:
        raise UserError(
            f"reward '{scorer.name}' gives the weight {negative:.3g}, and a vote needs at least 0; expected scores "
            "that are probabilities, or weight=sigmoid for logits"
        )
    return _verification(scorer.name, rows, mean([value is None for value in values]))


def _usual_weight(scorer: Reward) -> Callable[[float], float]:
    reward = unwrap(scorer)
    return sigmoid if isinstance(reward, ModelReward) and reward.kind == "outcome" else float


def _verification(scorer: str, rows: Sequence[_Problem], unscored: float) -> Verification:
    samples = min(len(row.correct) for row in rows)
    best = Measure.of([best_of(row.correct, row.scores) for row in rows])
    voted = [(row, row.answers) for row in rows if row.answers is not None]
    majority = vote = None
    if len(voted) == len(rows):
        majority = Measure.of([maj_at_k(answers, row.correct, len(row.correct)) for row, answers in voted])
        vote = Measure.of([weighted_vote(answers, row.correct, row.weights) for row, answers in voted])
    return Verification(
        scorer=scorer,
        problems=len(rows),
        samples=samples,
        first=Measure.of([mean(row.correct) for row in rows]),
        majority=majority,
        best_of=best,
        weighted_vote=vote,
        any_right=Measure.of([float(any(row.correct)) for row in rows]),
        best_of_against_majority=_difference(majority, best),
        vote_against_majority=_difference(majority, vote),
        best_of_at={k: Measure.of([best_of_k(row.correct, row.scores, k) for row in rows]) for k in doubling(samples)},
        unscored_fraction=unscored,
    )


def _difference(before: Measure | None, after: Measure | None) -> Interval | None:
    return paired_difference(before.by_problem, after.by_problem) if before and after else None


@dataclass(frozen=True)
class _Problem:
    """This holds what was sampled for one problem: for each completion its answer, whether it is right, and what the
    scorer says of it."""

    answers: list[Hashable | None] | None
    correct: list[bool]
    scores: list[float]
    weights: list[float]

    @classmethod
    def of(
        cls,
        rollouts: Sequence[Rollout],
        values: Sequence[float | None],
        answers: list[Hashable | None] | None,
        weight: Callable[[float], float],
    ) -> _Problem:
        return cls(
            answers,
            [bool(rollout.correct) for rollout in rollouts],
            [-math.inf if value is None else value for value in values],
            [0.0 if value is None else weight(value) for value in values],
        )


def _share_of_best(scores: Sequence[float], correct: Sequence[bool]) -> float:
    """Among those with the highest score, the share that is right."""
    if len(scores) != len(correct) or not scores:
        raise ValueError(f"choosing needs a verdict for each score: got {len(scores)} and {len(correct)}")
    highest = max(scores)
    best = [ok for ok, score in zip(correct, scores, strict=True) if _same(score, highest)]
    return sum(best) / len(best)


def _same(score: float, highest: float) -> bool:
    return score == highest or same(score, highest)
