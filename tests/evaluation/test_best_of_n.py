"""Choosing among samples with a scorer: the worked example's numbers, brute force, and real rollouts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.errors import UserError
from groupwise.evaluation.best_of_n import best_of, best_of_k, verify, weighted_totals, weighted_vote
from groupwise.rewards import FinalAnswer, as_reward, score_rollouts
from groupwise.rewards.model import sigmoid
from groupwise.rewards.verdicts import Judge
from groupwise.types import Example, Prompt, Rollout, Score

ANSWERS, SCORES = ["a", "b", "b"], [0.9, 0.3, 0.4]
RIGHT = [True, False, False]
JUDGE = Judge.of(FinalAnswer())


def test_the_worked_example() -> None:
    assert weighted_totals(ANSWERS, SCORES) == pytest.approx({"a": 0.9, "b": 0.7})
    assert weighted_vote(ANSWERS, RIGHT, SCORES) == 1.0
    assert best_of(RIGHT, SCORES) == 1.0
    assert weighted_vote(ANSWERS, RIGHT, [1.0, 1.0, 1.0]) == 0.0  # counting alone chooses b


def test_ties_are_split_uniformly_also_after_rounding() -> None:
    assert best_of([True, False, False], [0.5, 0.5, 0.1]) == 0.5
    assert weighted_vote(["a", "b", "b"], RIGHT, [0.3, 0.1, 0.2]) == 0.5  # 0.1 + 0.2 is 0.30000000000000004
    assert weighted_vote(["a", "b"], [True, False], [0.0, 0.0]) == 0.5


def test_no_answer_is_one_answer_and_never_right() -> None:
    assert weighted_vote([None, None, "a"], [True, False, True], [0.5, 0.4, 0.8]) == 0.0
    assert weighted_vote([None, "a"], [False, True], [0.5, 0.8]) == 1.0


@pytest.mark.parametrize("scores", [[0.5, -0.1, 0.2], [0.5], [math.nan, 0.1, 0.2]])
def test_a_vote_needs_a_weight_each(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="at least 0 for each"):
        weighted_vote(ANSWERS, RIGHT, scores)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.9])), min_size=1, max_size=7), st.data())
def test_best_of_k_is_the_mean_over_all_subsets(rows: list[tuple[bool, float]], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(rows)))
    correct, scores = [ok for ok, _ in rows], [score for _, score in rows]
    subsets = [
        best_of([correct[i] for i in part], [scores[i] for i in part])
        for part in itertools.combinations(range(len(rows)), k)
    ]
    assert best_of_k(correct, scores, k) == pytest.approx(sum(subsets) / len(subsets))


def test_best_of_k_wants_1_to_n() -> None:
    with pytest.raises(ValueError, match="k=4"):
        best_of_k(RIGHT, SCORES, 4)


@dataclass(frozen=True)
class Length:
    """Longer is better; ``shift`` makes scores of the kind that logits are; no text, no score."""

    shift: float = 0.0
    name: str = "length"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(len(row.text) - self.shift) if row.text else Score(None, "failed") for row in rollouts]


def samples(answer: str, *texts: str) -> list[Rollout]:
    prompt = Prompt(Example(f"row:{answer}", "?", answer=answer), (1,))
    rows = [Rollout(prompt, (0,), (True,), (0.0,), text, True, 0) for text in texts]
    return score_rollouts(rows, [FinalAnswer()], JUDGE)[0]


PROBLEMS = [
    samples("1", "in full: #### 1", "#### 2", "#### 2"),  # the scorer is right, counting is wrong
    samples("2", "#### 2", "#### 2", "the longest: #### 5"),  # best-of is wrong, counting is right
    samples("3", "#### 3", "#### 3", ""),  # one sample without a score
    samples("4", "#### 5", "#### 6", "#### 7"),  # nobody is right
]


def test_a_verification_compares_all_ways_of_choosing() -> None:
    found = verify(PROBLEMS, Length(), JUDGE)
    assert found.first.by_problem == pytest.approx((1 / 3, 2 / 3, 2 / 3, 0.0))
    assert found.majority
    assert found.weighted_vote
    assert found.best_of_against_majority
    assert found.majority.by_problem == (0.0, 1.0, 1.0, 0.0)
    assert found.best_of.by_problem == (1.0, 0.0, 1.0, 0.0)
    assert found.weighted_vote.by_problem == (1.0, 0.0, 1.0, 0.0)
    assert found.any_right.by_problem == (1.0, 1.0, 1.0, 0.0)
    assert found.best_of_against_majority.value == 0.0
    assert found.best_of_against_majority.low < 0 < found.best_of_against_majority.high
    assert found.unscored_fraction == pytest.approx(1 / 12)
    assert set(found.best_of_at) == {1, 2, 3}
    assert found.best_of_at[3].value == found.best_of.value
    assert found.best_of_at[1].value == pytest.approx(found.first.value)
    assert found.to_json()["problems"] == 4


def test_logits_need_a_weight_function() -> None:
    with pytest.raises(UserError, match=r"'length' gives the weight -.*weight=sigmoid for logits"):
        verify(PROBLEMS, Length(shift=20.0), JUDGE)
    shifted = verify(PROBLEMS, Length(shift=20.0), JUDGE, weight=sigmoid)
    assert shifted.best_of == verify(PROBLEMS, Length(), JUDGE).best_of
    assert shifted.weighted_vote
    assert shifted.weighted_vote.by_problem[0] == 1.0


def test_without_votes_the_best_is_chosen_and_nothing_is_counted() -> None:
    """A rule that only knows right from wrong: a verdict is not an equality of wrong answers."""
    judge = Judge.of(as_reward(lambda completion, answer: float(completion.endswith(f" {answer}")), name="rule"))
    rows = [score_rollouts([replace(row, scores={}) for row in each], [judge.reward], judge)[0] for each in PROBLEMS]
    found = verify(rows, Length(), judge)
    assert (
        found.majority is found.weighted_vote is found.best_of_against_majority is found.vote_against_majority is None
    )
    assert found.best_of.by_problem == (1.0, 0.0, 1.0, 0.0)
    assert "length: best of 3 is right on 0.500 of 4 problems; there is no majority vote" in found.sentence
    assert found.to_json()["majority"] is None


def test_the_verdict_is_the_judges_and_no_sum() -> None:
    """Weights, a format reward and a length penalty change nothing of what is right."""
    form = as_reward(lambda completion: 1.0, name="form")
    rows = [
        score_rollouts([replace(row, scores={}) for row in each], [FinalAnswer(weight=0.1), form], JUDGE)[0]
        for each in PROBLEMS
    ]
    assert verify(rows, Length(), JUDGE) == verify(PROBLEMS, Length(), JUDGE)


def test_nothing_to_verify_is_refused() -> None:
    with pytest.raises(UserError, match="at least one sample each"):
        verify([], Length(), JUDGE)
    with pytest.raises(UserError, match="at least one sample each"):
        verify([[]], Length(), JUDGE)
