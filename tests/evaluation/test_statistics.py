from __future__ import annotations

import random
import time
from collections import Counter
from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groupwise.evaluation.statistics import (
    maj_at_k,
    mean_interval,
    paired_difference,
    pass_at_k,
    wilson_interval,
)


@pytest.mark.parametrize(("n", "c", "k", "value"), [(5, 2, 1, 0.4), (5, 2, 3, 0.9), (5, 2, 4, 1.0), (5, 0, 2, 0.0)])
def test_pass_at_k_golden(n: int, c: int, k: int, value: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(("k", "value"), [(1, 0.5), (2, 0.5), (3, 2 / 3), (4, 1.0)])
def test_maj_at_k_golden_with_ties_split_uniformly(k: int, value: float) -> None:
    answers = ["a", "b", "a", "c"]
    assert maj_at_k(answers, [answer == "a" for answer in answers], k) == pytest.approx(value, abs=1e-12)


def enumerated_majority(answers: list[str | None], right: set[str], k: int) -> float:
    def vote(drawn: tuple[str | None, ...]) -> float:
        votes = Counter(drawn)
        winners = [answer for answer, count in votes.items() if count == max(votes.values())]
        return sum(answer in right for answer in winners) / len(winners)

    return fmean(vote(drawn) for drawn in combinations(answers, k))


@settings(max_examples=150, deadline=None)
@given(
    answers=st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=9),
    right=st.sets(st.sampled_from(["a", "b"])),
    data=st.data(),
)
def test_maj_at_k_is_the_mean_over_all_subsets(answers: list[str | None], right: set[str], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(answers)))
    correct = [answer in right for answer in answers]
    assert maj_at_k(answers, correct, k) == pytest.approx(enumerated_majority(answers, right, k), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(correct=st.lists(st.booleans(), min_size=1, max_size=9), data=st.data())
def test_pass_at_k_is_the_mean_over_all_subsets(correct: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(correct)))
    expected = fmean(any(drawn) for drawn in combinations(correct, k))
    assert pass_at_k(len(correct), sum(correct), k) == pytest.approx(expected, abs=1e-12)


def test_a_vote_for_no_answer_is_never_right() -> None:
    assert maj_at_k([None, None, None], [True, True, True], 2) == 0.0
    assert maj_at_k([None, None, 7], [False, False, True], 3) == 0.0


def test_an_answer_is_right_where_any_of_its_samples_was() -> None:
    """A second reward, say for the format, may mark down one of two equal answers; the vote is on the answer."""
    assert maj_at_k([7, 7], [True, False], 2) == 1.0


def test_maj_at_1_is_the_share_of_correct_samples() -> None:
    answers = [3, 4, 4, None, 5, 3, 3]
    assert maj_at_k(answers, [answer == 3 for answer in answers], 1) == pytest.approx(3 / 7)


def test_a_hundred_problems_take_well_under_a_second() -> None:
    draw = random.Random(0)
    problems = [[draw.choice(range(draw.randint(1, 32))) for _ in range(32)] for _ in range(100)]
    started = time.process_time()
    for answers in problems:
        for k in (1, 2, 4, 8, 16, 32):
            assert 0 <= maj_at_k(answers, [answer == 0 for answer in answers], k) <= 1
    assert time.process_time() - started < 2.0


def test_wilson_interval_by_hand() -> None:
    interval = wilson_interval(8, 10)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.8, 0.490162, 0.943318), abs=1e-6)
    assert wilson_interval(0, 20).low == 0.0
    assert wilson_interval(0, 20).high > 0.1
    assert wilson_interval(20, 20).high == 1.0


def test_mean_interval_by_hand() -> None:
    """Five values with two each at 0 and 1: mean 3.5 / 9, mean square 2.75 / 9."""
    interval = mean_interval([0.5, 0.5, 0.5, 0.0, 0.0])
    half = 1.959964 * ((2.75 / 9 - (3.5 / 9) ** 2) / 9) ** 0.5
    assert interval.value == pytest.approx(0.3)
    assert (interval.low, interval.high) == pytest.approx((3.5 / 9 - half, 3.5 / 9 + half), abs=1e-6)


def test_mean_interval_is_wilsons_for_zeros_and_ones() -> None:
    assert mean_interval([1.0] * 50) == wilson_interval(50, 50)


@pytest.mark.parametrize("level", [0.02, 0.5, 0.98])
def test_mean_interval_holds_its_level_near_the_ends(level: float) -> None:
    """40 problems of spread difficulty, 8 samples each; a percentile bootstrap covers 70 % of the time at 0.02."""
    draw = random.Random(0)

    def values() -> list[float]:
        chances = [draw.betavariate(level, 1 - level) for _ in range(40)]
        return [sum(draw.random() < chance for _ in range(8)) / 8 for chance in chances]

    intervals = [mean_interval(values()) for _ in range(400)]
    assert sum(interval.low <= level <= interval.high for interval in intervals) / 400 >= 0.93


def test_paired_difference_by_hand() -> None:
    """Two wins, one loss and a tie, and half a win, a tie and half a loss: mean 1 / 6, mean square 4 / 6."""
    difference = paired_difference([0, 0, 1, 1], [1, 1, 0, 1])
    half = 1.959964 * ((4 / 6 - 1 / 36) / 6) ** 0.5
    assert difference.value == 0.25
    assert (difference.low, difference.high) == pytest.approx((1 / 6 - half, 1 / 6 + half), abs=1e-6)


def test_a_handful_of_changed_problems_is_not_yet_a_difference() -> None:
    """Four one-sided changes have p = 0.125 in the exact sign test, six 0.03."""
    assert paired_difference([0.0] * 100, [1.0] * 4 + [0.0] * 96).low < 0
    assert paired_difference([0.0] * 100, [1.0] * 6 + [0.0] * 94).low > 0
    same = paired_difference([0.5] * 100, [0.5] * 100)
    assert same.value == 0.0
    assert same.low < 0 < same.high


def test_pairing_is_sharper_than_two_separate_means() -> None:
    before = [row / 100 for row in range(80)]
    after = [value + 0.1 + 0.01 * (-1) ** row for row, value in enumerate(before)]
    difference = paired_difference(before, after)
    assert difference.value == pytest.approx(0.1)
    assert difference.low > 0.05
    assert mean_interval(after).low < mean_interval(before).high


@pytest.mark.parametrize(
    "call",
    [
        lambda: pass_at_k(4, 5, 1),
        lambda: pass_at_k(4, 1, 5),
        lambda: maj_at_k([1], [True], 2),
        lambda: maj_at_k([1, 2], [True], 1),
        lambda: wilson_interval(3, 2),
        lambda: mean_interval([]),
        lambda: paired_difference([], []),
        lambda: paired_difference([1.0], [1.0, 0.0]),
    ],
)
def test_impossible_input_is_refused(call: object) -> None:
    with pytest.raises(ValueError, match=r"got|least one"):
        call()  # type: ignore[operator]
