"""Votes are the reward's own equality: who is right is one class, and equal answers are one."""

from __future__ import annotations

from collections.abc import Callable

from groupwise.protocols import ReadsGold, Votes
from groupwise.rewards import Code, FinalAnswer, Math
from groupwise.types import Rollout

Make = Callable[..., Rollout]


def classes(votes: list[int | None]) -> list[int | None]:
    """Numbered by first appearance."""
    order: dict[int | None, int] = {}
    return [None if vote is None else order.setdefault(vote, len(order)) for vote in votes]


def test_equal_mathematics_is_one_vote(rollout: Make) -> None:
    texts = [r"\boxed{x+1}", r"\boxed{1+x}", r"\boxed{\frac{2x+2}{2}}", r"\boxed{x}", r"\boxed{x}", "I do not know."]
    for gold in ("x+1", "x", "2x", "the smaller one"):
        assert classes(Math().votes([rollout(text, answer=gold) for text in texts])) == [0, 0, 0, 1, 1, None]


def test_choices_in_any_form_are_one_vote(rollout: Make) -> None:
    texts = [r"\boxed{A}", "(A)", r"\boxed{\text{A}}", "The answer is A.", r"\boxed{B}", "(B) Paris"]
    assert classes(Math().votes([rollout(text, answer="A") for text in texts])) == [0, 0, 0, 0, 1, 1]


def test_answers_without_a_mark_vote_for_what_they_say(rollout: Make) -> None:
    texts = ["I get 5", "It is 5.", "So x = 5", "Ann has 5 apples.", "total: 6", "We have 7.", "8", "9 in all"]
    assert classes(Math().votes([rollout(text, answer="5") for text in texts])) == [0, 0, 0, 0, 1, 2, 3, 4]
    assert FinalAnswer().votes([rollout(text, answer="5") for text in texts]) == [None] * 8
    assert classes(FinalAnswer(last_number=True).votes([rollout(t, answer="5") for t in texts])) == [0] * 4 + [
        1,
        2,
        3,
        4,
    ]


def test_all_that_is_right_is_one_class_and_nothing_wrong_is_in_it(rollout: Make) -> None:
    texts = [r"\boxed{50}", r"\boxed{0.5}", r"\boxed{\frac12}", r"\boxed{50\%}", r"\boxed{5}", r"\boxed{\frac{1}{3}}"]
    rows = [rollout(text, answer=r"50\%") for text in texts]
    votes, scores = Math().votes(rows), Math().score(rows)
    right = {vote for vote, score in zip(votes, scores, strict=True) if score.value == 1.0}
    wrong = {vote for vote, score in zip(votes, scores, strict=True) if score.value == 0.0}
    assert len(right) == 1
    assert len(wrong) == 2
    assert not right & wrong


def test_a_tolerance_is_part_of_the_equality(rollout: Make) -> None:
    texts = ["#### 5", "#### 5.0004", "#### 5.2", "#### 7"]
    rows = [rollout(text, answer="5") for text in texts]
    assert classes(FinalAnswer().votes(rows)) == [0, 1, 2, 3]
    assert classes(FinalAnswer(tolerance="absolute 1e-3").votes(rows)) == [0, 0, 1, 2]
    assert classes(Math(tolerance="relative 0.1").votes(rows)) == [0, 0, 0, 1]


def test_votes_do_not_depend_on_how_often_they_are_asked(rollout: Make) -> None:
    texts = [rf"\boxed{{\sin({n % 3}x)+{n % 2}}}" for n in range(8)]
    rows = [rollout(text, answer=r"\sin(x)") for text in texts]
    assert Math().votes(rows) == Math().votes(rows)
    assert classes(Math().votes(rows)) == [0, 1, 2, 3, 4, 5, 0, 1]
    assert Math().votes([]) == FinalAnswer().votes([]) == []


def test_which_rewards_vote_and_read_references() -> None:
    assert all(isinstance(reward, Votes) for reward in (FinalAnswer(), Math(), Code()))
    assert all(isinstance(reward, ReadsGold) for reward in (FinalAnswer(), Math()))
