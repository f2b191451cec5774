"""The expected share of groups without signal: exact where it can be, and right on average."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from groupwise import recipes
from groupwise.preflight.signal import kinds, share_without_signal
from groupwise.types import Example, Group, Prompt, Rollout, Score


def test_by_hand() -> None:
    """Of 4 completions, 2 right: a pair is alike in 2 of 6 cases; three are never alike."""
    right = [1.0, 1.0, 0.0, 0.0]
    two, three = share_without_signal([right] * 5, 2), share_without_signal([right] * 5, 3)
    assert two is not None
    assert three is not None
    assert two.value == pytest.approx(1 / 3)
    assert three.value == 0.0
    assert two.low < 1 / 3 < two.high


def test_any_rewards_count_by_whether_they_are_equal() -> None:
    graded = share_without_signal([[0.1, 0.2, 0.3, 0.1]], 2)
    assert graded is not None
    assert graded.value == pytest.approx(1 / 6)
    assert share_without_signal([[0.1, 0.2, 0.3, 0.1]], 8) is None  # nobody knows what else there is
    assert share_without_signal([], 4) is None


@pytest.mark.parametrize("size", [2, 4, 8])
def test_it_is_unbiased(size: int) -> None:
    """For prompts of known difficulty: the mean of p^G + (1-p)^G."""
    draw, chances = random.Random(0), [0.1, 0.5, 0.9, 0.97] * 500
    groups = [[float(draw.random() < p) for _ in range(8)] for p in chances]
    found = share_without_signal(groups, size)
    truth = sum(p**size + (1 - p) ** size for p in chances) / len(chances)
    assert found is not None
    assert found.value == pytest.approx(truth, abs=0.015)
    assert found.low < truth < found.high


def test_a_larger_group_never_has_less_signal() -> None:
    draw = random.Random(1)
    groups = [[float(draw.random() < draw.random()) for _ in range(8)] for _ in range(30)]
    shares = [share.value for size in (2, 4, 8, 16, 32, 64) if (share := share_without_signal(groups, size))]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 6


def test_beyond_what_was_sampled_certainty_is_shrunk() -> None:
    """Eight of eight right does not say that sixty-four will be: Beta(8.5, 0.5)."""
    share = share_without_signal([[1.0] * 8] * 10, 64)
    assert share is not None
    assert 0.1 < share.value < 0.6


def group(*steps: dict[int, float], parts: tuple[dict[str, float], ...] = ()) -> Group:
    prompt = Prompt(Example("row", "?"), (1,))
    rollouts = [Rollout(prompt, (2, 3), (True, True), (-1.0, -1.0), "", True, 0, rewards=rewards) for rewards in steps]
    for place, said in enumerate(parts):
        rollouts[place] = replace(rollouts[place], scores={name: Score(value) for name, value in said.items()})
    return Group(prompt, tuple(rollouts))


def test_equal_but_for_rounding_is_one_kind() -> None:
    assert kinds([group({1: 0.1 + 0.2}, {1: 0.3}, {}, {1: 0.4}), group({1: 0.3})], recipes.grpo) == [[0, 0, 1], [0]]


def test_steps_and_parts_are_seen_where_the_method_sees_them() -> None:
    """Totals of 1 in other steps are two kinds to process supervision; steps of 1 are one, however many there are."""
    steps = [group({0: 0.2, 1: 0.8}, {0: 0.6, 1: 0.4}), group({0: 1.0}, {0: 1.0, 1: 1.0})]
    assert [len(set(numbers)) for numbers in kinds(steps, recipes.grpo)] == [1, 2]
    assert [len(set(numbers)) for numbers in kinds(steps, recipes.grpo_process)] == [2, 1]
    parts = group({1: 1.0}, {1: 1.0}, parts=({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}))
    assert kinds([parts], recipes.gdpo) == [[0, 1]]
    assert kinds([parts], recipes.grpo) == [[0, 0]]
    unequal = share_without_signal(kinds(steps[:1] * 3, recipes.grpo_process), 2)
    assert unequal is not None
    assert unequal.value == 0.0
