"""The expected share of groups without signal: exact where it can be, and right on average."""

from __future__ import annotations

import random

import pytest

from groupwise.preflight.signal import share_without_signal


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
