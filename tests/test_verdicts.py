"""One judge says what is right: one reward's own score, before weighting, and nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from groupwise.rewards import score_rollouts
from groupwise.tasks.task import Task
from groupwise.types import Example, Prompt, Rollout, Score
from groupwise.verdicts import Judge, correct_at


@dataclass(frozen=True)
class Says:
    """A reward of given scores."""

    scores: tuple[Score, ...]
    name: str = "says"
    weight: float = 1.0
    asked: list[int] = field(default_factory=list, compare=False)

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        self.asked.append(len(rollouts))
        return list(self.scores)


@dataclass(frozen=True)
class Half(Says):
    correct_at: float = 0.5


def says(name: str, *values: float | None, weight: float = 1.0) -> Says:
    return Says(tuple(Score(value) for value in values), name, weight)


def rollouts(count: int) -> list[Rollout]:
    prompt = Prompt(Example("row:1", "?"), (1,))
    return [Rollout(prompt, (2,), (True,), (-0.1,), "text", True, 0) for _ in range(count)]


def test_the_referee_judges_else_the_first_reward() -> None:
    answer, form, rule = says("answer"), says("format"), Half((), "rule")
    assert Task("t", ()).judge is None
    assert Task("t", (), (answer, form)).judge == Judge(answer, 1.0)
    assert Task("t", (), (answer, form), referee=(rule, answer)).judge == Judge(rule, 0.5)
    assert Task("t", (), (answer, form), referee=(rule, answer)).judges == (answer, form, rule)


def test_a_reward_states_its_threshold_or_it_is_one() -> None:
    assert correct_at(says("plain")) == 1.0
    assert correct_at(Half((), "half")) == 0.5


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (Score(1.0), True),
        (Score(0.9999999999999999), True),
        (Score(0.99), False),
        (Score(0.0, "unparseable"), False),
        (Score(None, "timeout"), None),
        (Score(None, "not_applicable"), None),
        (Score(None, steps={0: 1.0, 3: 0.5}), False),
        (Score(None, steps={0: 1.0, 3: 1.0}), True),
    ],
)
def test_the_verdict_is_of_the_rewards_own_score(score: Score, verdict: bool | None) -> None:
    assert Judge.of(says("answer")).verdict(score) is verdict


def test_neither_a_format_nor_a_length_nor_a_weight_makes_an_answer_right_or_wrong() -> None:
    answer, form = says("answer", 0.0, 1.0, 1.0, None, weight=0.2), says("format", 1.0, 0.0, -0.5, 1.0)
    rows, _ = score_rollouts(rollouts(4), [answer, form], Judge.of(answer))
    assert [row.correct for row in rows] == [False, True, True, None]
    assert [row.reward for row in rows] == pytest.approx([1.0, 0.2, -0.3, 1.0])
    assert answer.asked == [4]


def test_a_judge_that_is_no_reward_is_asked_and_adds_nothing() -> None:
    learned, rule = says("learned", 7.0, -3.0), Says((Score(0.0), Score(None, "timeout")), "rule")
    rows, metrics = score_rollouts(rollouts(2), [learned], Judge.of(rule))
    assert [row.reward for row in rows] == [7.0, -3.0]  # also where the referee could not say anything
    assert [row.correct for row in rows] == [False, None]
    assert [row.scores["rule"].value for row in rows] == [0.0, None]
    assert metrics["rewards/rule/mean"] == 0.0


def test_without_a_judge_there_is_no_verdict() -> None:
    (row,), _ = score_rollouts(rollouts(1), [says("answer", 1.0)])
    assert row.correct is None


def test_what_cancels_but_for_rounding_is_nothing() -> None:
    parts = [says("a", 0.1), says("b", 0.2), says("c", 0.3, weight=-1.0)]
    (row,), _ = score_rollouts(rollouts(1), parts)
    assert row.reward == 0.0
