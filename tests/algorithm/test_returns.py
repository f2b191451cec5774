"""Advantages token by token: rewards to go, baselines, GAE over what the policy sampled, a teacher."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from groupwise.algorithm import GAE, RewardToGo, Signals, TeacherGap


def turns() -> Signals:
    """One completion of two turns: a tool's answer (mask 0) stands between them; a reward after each."""
    mask = torch.tensor([[True, True, False, True]])
    return Signals(
        mask=mask,
        group=torch.tensor([0]),
        rewards=torch.tensor([[0.0, 1.0, 0.0, 2.0]], dtype=torch.float64),
        rewarded=torch.tensor([[False, True, False, True]]),
        finished=torch.tensor([True]),
        old_values=torch.tensor([[0.5, 0.25, torch.nan, 1.0]], dtype=torch.float64),
    )


def test_reward_to_go_counts_what_is_still_to_come() -> None:
    assert RewardToGo().advantages(turns()).tolist() == [[3.0, 3.0, 0.0, 2.0]]
    # A discount is for each token that the policy sampled: γ(R + γ ·) over tokens 0, 1 and 3, as GAE with V = 0 has it.
    assert RewardToGo(gamma=0.5).advantages(turns()).tolist() == [[1.0, 2.0, 0.0, 2.0]]
    without = replace(turns(), old_values=torch.zeros(1, 4, dtype=torch.float64))
    assert GAE(0.5, 1.0).advantages(without).tolist() == [[1.0, 2.0, 0.0, 2.0]]


def test_baselines() -> None:
    two = turns().rows(torch.tensor([0, 0]))
    two = replace(two, rewards=two.rewards * torch.tensor([[1.0], [0.0]]), greedy_rewards=torch.tensor([0.5, 0.5]))
    assert RewardToGo(baseline="group").advantages(two)[:, 3].tolist() == [0.5, -1.5]
    assert RewardToGo(baseline="greedy").advantages(two)[:, 3].tolist() == [1.5, -0.5]


def test_a_greedy_completion_without_a_reward_costs_its_group_alone() -> None:
    two = turns().rows(torch.tensor([0, 0]))
    two = replace(two, group=torch.tensor([0, 1]), greedy_rewards=torch.tensor([torch.nan, 0.5]))
    assert RewardToGo(baseline="greedy").advantages(two).tolist() == [[0.0] * 4, [2.5, 2.5, 0.0, 1.5]]


def test_a_greedy_baseline_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="greedy_rewards"):
        RewardToGo(baseline="greedy").advantages(turns())


def test_gae_passes_over_what_a_tool_said() -> None:
    """By hand, λ = ½: δ = 2 - 1, 1 + 1 - 0.25, 0 + 0.25 - 0.5; A = 1, 1.75 + 0.5, -0.25 + 1.125."""
    assert GAE(1.0, 0.5).advantages(turns()).tolist() == [[0.875, 2.25, 0.0, 1.0]]


def test_gae_over_a_ragged_conversation() -> None:
    """Heard before the first turn, for long between two, and after the last; γ = ½, λ = ½, V = 1, 2, 4, 3 of what was
    sampled. By hand, from the last: δ = 8 - 3; 0 + ½ 3 - 4; 1 + ½ 4 - 2; 0 + ½ 2 - 1; A = 5, -2.5 + 5/4, 1 - 1.25/4."""
    nan = torch.nan
    signals = Signals(
        mask=torch.tensor([[False, True, True, False, False, False, True, True, False]]),
        group=torch.tensor([0]),
        rewards=torch.tensor([[0.0, 0, 1, 0, 0, 0, 0, 8, 0]], dtype=torch.float64),
        rewarded=torch.tensor([[False, False, True, False, False, False, False, True, False]]),
        finished=torch.tensor([True]),
        old_values=torch.tensor([[nan, 1.0, 2, nan, nan, nan, 4, 3, nan]], dtype=torch.float64),
    )
    a = 1 - 1.25 / 4
    assert GAE(0.5, 0.5).advantages(signals).tolist() == [[0.0, a / 4, a, 0, 0, 0, -1.25, 5, 0]]


def test_a_reward_that_came_while_a_tool_spoke_is_not_lost() -> None:
    """As in the reward to go: it arrives with the next sampled token."""
    late = replace(turns(), rewards=torch.tensor([[0.0, 0.0, 1.0, 2.0]], dtype=torch.float64))
    level = replace(late, old_values=torch.zeros(1, 4, dtype=torch.float64))
    for gamma in (1.0, 0.5):
        expected = RewardToGo(gamma).advantages(level)
        assert expected[0, 1] == gamma * 3
        assert torch.equal(GAE(gamma, 1.0).advantages(level), expected)


def test_gae_with_lambda_1_is_reward_to_go_less_the_value() -> None:
    signals = turns()
    gap = RewardToGo().advantages(signals) - torch.where(signals.mask, signals.old_values, 0.0)
    assert torch.equal(GAE(1.0, 1.0).advantages(signals), gap)


def test_rewards_whitened_with_their_mean_kept(worked: Any) -> None:
    """Eleven token rewards, six of them not 0: the mean of what λ = 1 adds up stays, the spread becomes 1."""
    level = replace(worked.signals, old_values=torch.zeros_like(worked.signals.rewards))
    plain, white = (GAE(1.0, 0.0, whiten_rewards=flag).advantages(level)[level.mask] for flag in (False, True))
    assert float(white.mean()) == pytest.approx(float(plain.mean()), abs=1e-12)
    assert float(white.std()) == pytest.approx(1.0, abs=1e-6)


def test_a_row_without_reward_has_no_advantage() -> None:
    unscored = replace(turns(), rewarded=torch.zeros(1, 4, dtype=torch.bool))
    for advantage in (RewardToGo(), GAE()):
        assert not advantage.advantages(unscored).any()


def test_a_teachers_gap_needs_no_reward(worked: Any) -> None:
    """log π_ref - log π_old of the first token: -0.6 + 0.5."""
    unscored = replace(worked.signals, rewarded=torch.zeros_like(worked.signals.rewarded))
    found = TeacherGap().advantages(unscored)
    assert float(found[0, 0]) == pytest.approx(-0.1)
    assert not found[~unscored.mask].any()
    with pytest.raises(ValueError, match="old_logprobs"):
        TeacherGap().advantages(replace(unscored, old_logprobs=None))
