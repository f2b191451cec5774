"""The watch on learned rewards: it speaks when the reward rises and the rule falls, and not over noise."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from groupwise.doctor.alarms import HackingWatch, Observation, observe


def history(learned: Sequence[float], accuracy: Sequence[float], problems: int = 100) -> list[Observation]:
    rows = zip(learned, accuracy, strict=True)
    return [Observation(10 * (row + 1), value, share, problems) for row, (value, share) in enumerate(rows)]


UP = [0.0, 0.1, 0.2, 0.5, 0.6, 0.7]
DOWN = [0.60, 0.58, 0.56, 0.40, 0.35, 0.30]
LEVEL = [0.60, 0.58, 0.61, 0.59, 0.60, 0.58]


def test_a_reward_that_rises_while_the_rule_falls_is_told_with_its_numbers() -> None:
    sentence = HackingWatch().sentence("rm", history(UP, DOWN))
    assert sentence is not None
    assert "the reward 'rm' rises while the rule falls: from steps 10-30 to 40-60" in sentence
    assert "from 0.1 to 0.6 (+0.5, standard error 0.082)" in sentence  # sd 0.1 in each half: sqrt(2 * 0.01 / 3)
    assert "held-out accuracy from 0.580 to 0.350 (-0.230, standard error 0.068 on 100 problems)" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("learned", "accuracy"),
    [
        (UP, LEVEL),
        (UP, DOWN[::-1]),
        ([0.3] * 6, DOWN),
        (UP[::-1], DOWN),
        ([0.0, 0.9, 0.1, 0.8, 0.2, 0.9], DOWN),
        (UP[:5], DOWN[:5]),
        ([], []),
    ],
)
def test_anything_else_is_no_alarm(learned: Sequence[float], accuracy: Sequence[float]) -> None:
    assert HackingWatch().sentence("rm", history(learned, accuracy)) is None


def test_the_same_fall_on_few_problems_is_noise() -> None:
    assert HackingWatch().sentence("rm", history(UP, DOWN, problems=10)) is None
    assert HackingWatch().sentence("rm", history(UP, DOWN, problems=1000)) is not None


def test_a_fall_of_nothing_is_none_however_many_problems() -> None:
    slight = [0.600, 0.601, 0.600, 0.590, 0.591, 0.590]
    assert HackingWatch().sentence("rm", history(UP, slight, problems=10_000_000)) is None
    assert HackingWatch(least_fall=0.005).sentence("rm", history(UP, slight, problems=10_000_000)) is not None


def test_only_the_last_window_counts_and_news_is_told_once() -> None:
    watch, seen = HackingWatch(), history([0.0, 0.1, 0.0, *UP, 0.9], [0.6, 0.6, 0.6, *DOWN, 0.25])
    told = [watch.new_alarm("rm", seen[: row + 1]) is not None for row in range(len(seen))]
    said = [watch.sentence("rm", seen[: row + 1]) is not None for row in range(len(seen))]
    assert told.count(True) == 1
    assert said[told.index(True) :] == [True] * (len(seen) - told.index(True))


def test_chance_alone_raises_no_alarm() -> None:
    draw, watch, alarms = random.Random(0), HackingWatch(), 0
    for _ in range(1000):
        noise = [draw.gauss(0, 1) for _ in range(6)]
        shares = [sum(draw.random() < 0.5 for _ in range(50)) / 50 for _ in range(6)]
        alarms += watch.sentence("rm", history(noise, shares, problems=50)) is not None
    assert alarms <= 2


def test_an_observation_is_the_mean_since_the_last() -> None:
    assert observe(20, [1.0, 2.0, 3.0], 0.5, 100) == Observation(20, 2.0, 0.5, 100)
    with pytest.raises(ValueError, match="step 20: expected finite means"):
        observe(20, [], 0.5, 100)
    with pytest.raises(ValueError, match="expected finite means"):
        observe(20, [float("nan")], 0.5, 100)
    with pytest.raises(ValueError, match="accuracy from 0 to 1"):
        observe(20, [1.0], 1.5, 100)
    with pytest.raises(ValueError, match="window is 3"):
        HackingWatch(window=3)
