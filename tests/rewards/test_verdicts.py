"""One judge says what is right: one reward's own score, before weighting, and nobody else's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from groupwise.rewards import Cached, FinalAnswer, ModelReward, as_reward, score_rollouts
from groupwise.rewards.verdicts import Judge, correct_at
from groupwise.tasks.task import Task
from groupwise.types import Example, Prompt, Rollout, Score


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


def test_sums_of_huge_rewards_stay_numbers() -> None:
    one, other = says("a", 1e308, 1e308, weight=10.0), says("b", 1e308, -1e308, weight=10.0)
    rows, _ = score_rollouts(rollouts(2), [one, other])
    assert [row.reward for row in rows] == [sys.float_info.max, 0.0]


def test_what_cancels_but_for_rounding_is_nothing() -> None:
    parts = [says("a", 0.1), says("b", 0.2), says("c", 0.3, weight=-1.0)]
    (row,), _ = score_rollouts(rollouts(1), parts)
    assert row.reward == 0.0


def test_a_judge_is_found_among_the_rewards_whatever_its_weight() -> None:
    """It is asked once, and its name is no second one."""
    rule = FinalAnswer(weight=0.5)
    task = Task("t", (), (says("learned", 2.0), rule), referee=(FinalAnswer(),))
    assert task.judge == Judge(rule, 1.0)
    assert task.judges == task.rewards
    prompt = Prompt(Example("row:1", "?", answer="5"), (1,))
    row = Rollout(prompt, (2,), (True,), (-0.1,), "#### 5", True, 0)
    (scored,), _ = score_rollouts([row], task.rewards, Judge.of(FinalAnswer()))
    assert (scored.correct, scored.reward, list(scored.scores)) == (True, 2.5, ["learned", "answer"])


def test_a_wrapped_reward_judges_as_itself(tmp_path: Path) -> None:
    class Own:
        name, weight, correct_at = "own", 1.0, 0.25

        def identity(self) -> dict[str, int]:
            return {}

        def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
            return [Score(0.25) for _ in rollouts]

        def votes(self, rollouts: Sequence[Rollout]) -> list[int | None]:
            return [3 for _ in rollouts]

    kept = Judge.of(Cached(Own(), tmp_path / "scores.sqlite"))
    assert kept.threshold == 0.25
    assert kept.votes(rollouts(2)) == [3, 3]
    (row,), _ = score_rollouts(rollouts(1), [kept.reward], kept)
    assert row.correct


def test_a_function_states_its_threshold() -> None:
    def share(completion: str) -> float:
        return 0.5

    assert correct_at(as_reward(share)) == 1.0
    share.correct_at = 0.5  # type: ignore[attr-defined]
    assert correct_at(as_reward(share)) == 0.5
    assert correct_at(as_reward(share, correct_at=0.75)) == 0.75


def test_a_learned_reward_is_a_judge_of_steps_and_none_of_outcomes() -> None:
    process, outcome = Judge.of(ModelReward("prm", "process")), Judge.of(ModelReward("rm", "outcome"))
    assert process.threshold == 0.5
    assert process.can_tell
    assert not outcome.can_tell
    assert outcome.verdict(Score(7.0)) is None
