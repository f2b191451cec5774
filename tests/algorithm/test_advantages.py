"""Advantages: the worked numbers, and what must hold for every group."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from groupwise.algorithm import Constant, GroupRelative, ProcessRelative, Signals

GOLDEN = {
    "group, ddof 0": (
        GroupRelative(ddof=0),
        (1.4083737016560922, -0.8153742483272114, -0.592999453328881, -1.224744871391589, 1.2247448713915892, 0.0),
    ),
    "group, ddof 1": (
        GroupRelative(),
        (1.1499323120707245, -0.6657502859356826, -0.48418202613504197, -1.0, 1.0, 0.0),
    ),
    "group, ddof 1, epsilon 1e-4": (
        GroupRelative(epsilon=1e-4),
        (1.1497235587649077, -0.6656294287586308, -0.48409413000627705, -0.999666777740753, 0.9996667777407531, 0.0),
    ),
    "group, ddof 1, epsilon 1e-6": (
        GroupRelative(epsilon=1e-6),
        (1.1499302241624274, -0.6657490771466686, -0.48418114701575904, -0.9999966666777776, 0.9999966666777779, 0.0),
    ),
    "mean only": (
        GroupRelative(scale="none"),
        (0.6333333333333333, -0.3666666666666667, -0.2666666666666667, -0.3, 0.3, 0.0),
    ),
    "batch, ddof 0": (
        GroupRelative(scale="batch", ddof=0),
        (1.720179174807852, -0.995893206467704, -0.7242859683401484, -0.8148217143826667, 0.8148217143826669, 0.0),
    ),
    "batch, ddof 1": (
        GroupRelative(scale="batch"),
        (1.5703015616548048, -0.9091219567475187, -0.6611796049072864, -0.7438270555206971, 0.7438270555206972, 0.0),
    ),
}


def outcomes(rewards: list[float], group: list[int] | None = None, unscored: tuple[int, ...] = ()) -> Signals:
    """One token a row, its reward on it."""
    count = len(rewards)
    scored = torch.tensor([row not in unscored for row in range(count)])
    return Signals(
        mask=torch.ones(count, 1, dtype=torch.bool),
        group=torch.tensor(group or [0] * count),
        rewards=torch.tensor(rewards, dtype=torch.float64)[:, None] * scored[:, None],
        rewarded=scored[:, None],
        finished=torch.ones(count, dtype=torch.bool),
    )


def of(advantage: GroupRelative, rewards: list[float], **more: Any) -> Tensor:
    return advantage.advantages(outcomes(rewards, **more))[:, 0]


@pytest.mark.parametrize("name", GOLDEN)
def test_worked_example(worked: Any, name: str) -> None:
    advantage, expected = GOLDEN[name]
    found = advantage.advantages(worked.signals)
    for row, value in zip(worked.ragged(found), expected, strict=True):
        assert row == pytest.approx([value] * len(row), abs=1e-9)
    assert (found[~worked.signals.mask] == 0).all()


def test_two_completions_one_right() -> None:
    assert of(GroupRelative(ddof=0), [1.0, 0.0]).tolist() == pytest.approx([1, -1], abs=1e-12)
    assert of(GroupRelative(ddof=1), [1.0, 0.0]).tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)], abs=1e-12)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_one_success_of_many(size: int) -> None:
    """Population std: sqrt(G - 1) for the one, -1/sqrt(G - 1) for the others."""
    found = of(GroupRelative(ddof=0), [1.0] + [0.0] * (size - 1)).tolist()
    assert found == pytest.approx([(size - 1) ** 0.5] + [-((size - 1) ** -0.5)] * (size - 1), abs=1e-12)


@given(
    reward=st.floats(-1e6, 1e6, width=32),
    size=st.integers(1, 9),
    scale=st.sampled_from(["group", "batch", "none"]),
    epsilon=st.sampled_from([0.0, 1e-8, 1e-4]),
)
def test_equal_rewards_give_exactly_zero(reward: float, size: int, scale: Any, epsilon: float) -> None:
    """Six rewards of 0.9 have a standard deviation of rounding noise in float32; divided by 1e-8 it would be 0.79."""
    assert of(GroupRelative(scale=scale, epsilon=epsilon), [reward] * size).tolist() == [0.0] * size


def test_equal_group_beside_a_mixed_one() -> None:
    rewards, group = [0.9, 0.9, 0.9, 1.0, 0.0, 0.0], [0, 0, 0, 1, 1, 1]
    for scale in ("group", "batch", "none"):
        found = of(GroupRelative(scale=scale), rewards, group=group)  # type: ignore[arg-type]
        assert found[:3].tolist() == [0.0] * 3
        assert found[3] > 0 > found[4]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_unscored_rows_are_left_out(scale: Any) -> None:
    kept = of(GroupRelative(scale=scale), [1.0, 0.2, 0.4], group=[0, 0, 0])
    found = of(GroupRelative(scale=scale), [1.0, 9.0, 0.2, 0.4], unscored=(1,))
    assert found[1] == 0.0
    assert found[[0, 2, 3]].tolist() == pytest.approx(kept.tolist(), abs=1e-12)


def test_nothing_scored_and_one_scored_give_zero() -> None:
    assert of(GroupRelative(), [1.0, 0.0], unscored=(0, 1)).tolist() == [0.0, 0.0]
    assert of(GroupRelative(), [1.0, 0.0], unscored=(1,)).tolist() == [0.0, 0.0]


def test_a_reward_of_zero_is_a_reward() -> None:
    signals = outcomes([0.0, 1.0])
    assert signals.scored.tolist() == [True, True]
    assert (GroupRelative().advantages(signals) != 0).all()


spread = st.lists(st.integers(-100, 100), min_size=2, max_size=8).filter(lambda values: len(set(values)) > 1)


@given(rewards=spread, shift=st.integers(-1000, 1000), factor=st.floats(0.01, 100), ddof=st.sampled_from([0, 1]))
def test_reward_shift_and_scale_change_nothing(rewards: list[int], shift: int, factor: float, ddof: int) -> None:
    advantage = GroupRelative(ddof=ddof)
    before = of(advantage, [float(reward) for reward in rewards])
    after = of(advantage, [factor * (reward + shift) for reward in rewards])
    torch.testing.assert_close(after, before, atol=1e-9, rtol=1e-9)


@given(rewards=spread, random=st.randoms(use_true_random=False))
def test_order_of_rows_and_numbers_of_groups_do_not_matter(rewards: list[int], random: Any) -> None:
    values = [float(reward) for reward in rewards] * 2
    group = [7] * len(rewards) + [3] * len(rewards)
    values[-1] += 1
    for scale in ("group", "batch", "none"):
        expected = of(GroupRelative(scale=scale), values, group=group)  # type: ignore[arg-type]
        order = random.sample(range(len(values)), len(values))
        found = of(
            GroupRelative(scale=scale),  # type: ignore[arg-type]
            [values[row] for row in order],
            group=[group[row] for row in order],
        )
        torch.testing.assert_close(found, expected[order], atol=1e-9, rtol=1e-9)


@given(rewards=spread)
def test_a_group_sums_to_zero(rewards: list[int]) -> None:
    assert float(of(GroupRelative(), [float(reward) for reward in rewards]).sum()) == pytest.approx(0, abs=1e-9)


def test_outcome_is_the_sum_of_a_rows_rewards(worked: Any) -> None:
    """Rewards on several tokens of one completion count together."""
    rewards = worked.signals.rewards.clone()
    rewards[0] = torch.tensor([0.75, 0.25, 0.0])
    signals = worked.with_signals(rewards=rewards).signals
    assert torch.equal(GroupRelative().advantages(signals), GroupRelative().advantages(worked.signals))


def test_constant_is_one_on_every_sampled_token(worked: Any) -> None:
    assert torch.equal(Constant().advantages(worked.signals), worked.signals.mask.double())
    assert float(Constant(2.5).advantages(worked.signals).sum()) == 2.5 * 11


@pytest.mark.parametrize(
    ("rewards", "found"),
    [
        ([1.0, -1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0]),  # one right of four: a mean of -0.5 would turn every sign
        ([1.0, 1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0]),  # a mean of 0 divides nothing
        ([1.0, 1.0, 1.0, -1.0], [1.0, 1.0, 1.0, -3.0]),
        ([1.0, 0.0, 0.0, 0.0], [3.0, -1.0, -1.0, -1.0]),
        ([0.1, -0.3, 0.2, 0.0], [0.0, 0.0, 0.0, 0.0]),  # 0 but for rounding
    ],
)
def test_a_mean_that_is_not_positive_divides_nothing(rewards: list[float], found: list[float]) -> None:
    signals = outcomes(rewards, [0] * len(rewards))
    assert GroupRelative(scale="mean").advantages(signals)[:, 0].tolist() == pytest.approx(found)


def stepped(finished: tuple[bool, ...], ends: tuple[dict[int, float], ...], length: int = 4) -> Signals:
    """Rows of one group, all of whose tokens are sampled, with step scores on tokens."""
    rewards = torch.zeros(len(ends), length, dtype=torch.float64)
    rewarded = torch.zeros(len(ends), length, dtype=torch.bool)
    for row, scores in enumerate(ends):
        for place, score in scores.items():
            rewards[row, place], rewarded[row, place] = score, True
    mask = torch.ones_like(rewarded)
    return Signals(mask, torch.zeros(len(ends), dtype=torch.long), rewards, rewarded, torch.tensor(finished))


def test_eos_belongs_to_the_last_step_of_a_finished_completion() -> None:
    """Scores 1 and 0, population spread 1/2: normalised +1 and -1. Steps end at token 2, EOS is token 3."""
    signals = stepped((True, True), ({0: 1.0, 2: 1.0}, {0: 0.0, 2: 0.0}))
    text, whole = (
        ProcessRelative(ddof=0, last_step=end).advantages(signals).tolist() for end in ("text", "completion")
    )
    assert text == [[2, 1, 1, 0], [-2, -1, -1, 0]]
    assert whole == [[2, 1, 1, 1], [-2, -1, -1, -1]]


def test_a_step_that_truncation_cut_has_no_score() -> None:
    """The second row was cut in its second step; the third, cut in its only one, keeps what was said of it."""
    signals = stepped((True, False, False), ({1: 1.0}, {0: 0.0, 3: 1.0}, {3: 0.5}))
    found = ProcessRelative(ddof=0, last_step="completion").advantages(signals)
    spread = (((1 - 0.5) ** 2 + (0 - 0.5) ** 2 + 0) / 3) ** 0.5
    assert found[0].tolist() == pytest.approx([0.5 / spread] * 4)
    assert found[1].tolist() == pytest.approx([-0.5 / spread, 0, 0, 0])
    assert found[2].tolist() == [0.0] * 4


def test_a_completion_without_a_score_has_no_step_to_lengthen() -> None:
    found = ProcessRelative(ddof=0, last_step="completion").advantages(stepped((True, True), ({}, {1: 1.0, 2: 0.0})))
    assert found.tolist() == [[0, 0, 0, 0], [0, 0, -1, -1]]
    nothing = ProcessRelative(last_step="completion").advantages(stepped((True,), ({},)))
    assert nothing.tolist() == [[0, 0, 0, 0]]
