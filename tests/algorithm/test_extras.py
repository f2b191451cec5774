"""What stands beside the surrogate: an entropy bonus and the critic's objective, and the coefficients that adapt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from groupwise import recipes
from groupwise.algorithm import KL, Critic, Entropy, Outputs, gradient_coefficient


def test_the_bonus_is_its_weight_times_each_tokens_own(worked: Any) -> None:
    algorithm = replace(recipes.grpo, entropy=Entropy(0.5))
    signals = algorithm.prepare(worked.signals)
    entropy = torch.where(signals.mask, 1.5, torch.nan).double()
    plain = gradient_coefficient(recipes.grpo, signals, worked.outputs)
    found = gradient_coefficient(algorithm, signals, replace(worked.outputs, entropy=entropy))
    assert float(found.objective - plain.objective) == pytest.approx(0.5 * 1.5 * 6)  # six means of 1.5
    assert signals.weights is not None
    assert found.cotangent.entropy is not None
    torch.testing.assert_close(found.cotangent.entropy, 0.5 * signals.weights)
    assert torch.equal(found.cotangent.logprobs, plain.cotangent.logprobs)


def test_the_exact_penalty_sends_its_gradient_to_the_network(worked: Any) -> None:
    """With a live weight also through the ratio: ∂(r D)/∂log π = r D."""
    nats = torch.where(worked.signals.mask, 0.7, torch.nan).double()
    for weight in ("none", "live", "stopped"):
        algorithm = replace(recipes.grpo, kl=KL(0.1, "exact", weight))
        signals = algorithm.prepare(worked.signals)
        found = gradient_coefficient(algorithm, signals, replace(worked.outputs, exact_kl=nats))
        bare = gradient_coefficient(replace(algorithm, kl=KL(0.0)), signals, worked.outputs)
        assert signals.weights is not None
        assert found.cotangent.exact_kl is not None
        ratio = found.ratio if weight != "none" else torch.ones_like(found.ratio)
        expected = torch.where(signals.mask, -0.1 * ratio * signals.weights, 0.0)
        torch.testing.assert_close(found.cotangent.exact_kl, expected)
        through_ratio = expected * 0.7 if weight == "live" else torch.zeros_like(expected)
        torch.testing.assert_close(found.cotangent.logprobs - bare.cotangent.logprobs, through_ratio)


def test_what_only_a_network_can_say_is_asked_for_by_name(worked: Any) -> None:
    algorithm = replace(recipes.grpo, kl=KL(0.1, "exact"), entropy=Entropy(0.1), critic=Critic("head"))
    assert algorithm.outputs == {"exact_kl", "entropy", "values"}
    assert recipes.grpo.outputs == frozenset()
    exact = replace(recipes.grpo, kl=KL(0.1, "exact"))
    with pytest.raises(ValueError, match="exact_kl"):
        gradient_coefficient(exact, exact.prepare(worked.signals), worked.outputs)


def test_outputs_that_are_not_asked_for_have_no_cotangent(worked: Any) -> None:
    said = Outputs(worked.outputs.logprobs, entropy=worked.outputs.logprobs)
    found = gradient_coefficient(recipes.grpo, recipes.grpo.prepare(worked.signals), said)
    assert found.cotangent.entropy is None


def test_the_value_loss_goes_flat_on_one_side_only() -> None:
    """As the policy's clip: beyond the range where moving on would be better, never where it must come back."""
    old, returns = torch.zeros(4).double(), torch.tensor([1.0, 1.0, -1.0, 0.1]).double()
    values = torch.tensor([0.1, 0.5, 0.5, 0.5]).double().requires_grad_()
    Critic("head", coefficient=2.0, clip=0.2).objective(values, old, returns).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([2 * 0.9, 0.0, 2 * -1.5, 2 * -0.4])


def test_an_adaptive_bonus_moves_by_its_rate_and_not_below_0() -> None:
    bonus = Entropy(0.01, target=1.0, rate=0.02)
    assert bonus.adapted(0.5) == pytest.approx(0.03)
    assert bonus.adapted(1.5) == 0.0
    assert Entropy(0.01).adapted(0.0) == 0.01


def test_an_adaptive_penalty_is_bounded_a_draw() -> None:
    kl = KL(0.2, "k1", place="reward", target=6.0, horizon=1000.0)
    assert kl.adapted(60.0, 500) == pytest.approx(0.2 * 1.1)
    assert kl.adapted(0.0, 500) == pytest.approx(0.2 * 0.9)
    assert kl.adapted(6.6, 500) == pytest.approx(0.2 * 1.05)
    assert KL(0.2).adapted(60.0, 500) == 0.2


def test_a_value_is_clipped_where_it_left_its_range_towards_the_return() -> None:
    critic = Critic("head", clip=0.2)
    old, returns = torch.zeros(5), torch.tensor([1.0, -1.0, 0.0, 0.1, 1.0])
    values = torch.tensor([0.5, 0.5, 0.1, 0.5, 0.1])
    # 0.5 of 1, where 0.2 is as far as it may count; the others went the other way, past the return, or not far.
    assert critic.clipped(values, old, returns).tolist() == [True, False, False, False, False]
    assert not Critic("head", clip=0.0).clipped(values, old, returns).any()
