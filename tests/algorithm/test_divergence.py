"""A trust region of divergences (DPPO), and a kernel in place of a clip (VESPO): by hand, token by token."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise import recipes
from groupwise.algorithm import (
    Algorithm,
    ClippedSequenceRatio,
    DivergenceMask,
    GammaWeight,
    Outputs,
    SequenceMean,
    SequenceSum,
    Signals,
    gradient_coefficient,
)
from groupwise.algorithm.divergence import binary_kl


def made(algorithm: Algorithm, advantages: Any, probabilities: Any, sampler: Any, **changed: Any) -> Any:
    """What becomes of rows of sampled tokens whose probabilities are these, for a sampler with those."""
    now, then = (torch.tensor(values, dtype=torch.float64).log() for values in (probabilities, sampler))
    here = torch.ones_like(now, dtype=torch.bool)
    plain = Signals(
        here, torch.zeros(len(now)).long(), now * 0, here, here[:, 0], old_logprobs=then, behavior_logprobs=then
    )
    prepared = algorithm.prepare(replace(plain, **changed))
    values = torch.tensor(advantages, dtype=torch.float64)[:, None].expand_as(now)
    signals = replace(prepared, advantages=values, weights=torch.ones_like(now))
    return gradient_coefficient(algorithm, signals, Outputs(now))


DPPO = recipes.dppo


@pytest.mark.parametrize(
    ("advantage", "now", "then", "kept"),
    [
        (1.0, 1e-3, 1e-5, True),  # a hundred times as likely, and hardly moved
        (-1.0, 1e-5, 1e-3, True),
        (-1.0, 0.8, 0.99, False),  # a ratio of 0.81, and a fifth of all there is
        (1.0, 0.8, 0.99, True),  # A brings it back
        (1.0, 0.5, 0.34, False),
        (1.0, 0.5, 0.36, True),
        (-1.0, 0.36, 0.5, True),
        (-1.0, 0.34, 0.5, False),
        (-1.0, 0.5, 0.34, True),
        (1.0, 1.0, 0.5, False),
        (0.0, 0.9, 0.1, True),
    ],
)
def test_total_variation_holds_what_has_moved_far(advantage: float, now: float, then: float, kept: bool) -> None:
    found = made(DPPO, [advantage], [[now]], [[then]])
    assert found.cotangent.logprobs.item() == pytest.approx(kept * advantage * now / then, rel=1e-12)
    assert (found.clipped.item() == 0) == kept
    if not kept:
        assert found.clipped.item() == math.copysign(1, advantage)


def test_each_side_has_its_own_delta() -> None:
    wide = replace(DPPO, objective=DivergenceMask("tv", low=0.5, high=0.1))
    found = made(wide, [1.0, -1.0], [[0.5], [0.2]], [[0.35], [0.6]])
    assert found.cotangent.logprobs.flatten().tolist() == pytest.approx([0.0, -0.2 / 0.6])


def test_the_divergence_of_a_token_from_the_rest() -> None:
    """½ log(½/¼) + ½ log(½/¾); one that was certain, now ½, is log 2; the other way round it is infinite."""
    first = torch.tensor([0.5, 1.0, 0.5, 0.3, 1.0, 1e-300], dtype=torch.float64).log()
    second = torch.tensor([0.25, 0.5, 1.0, 0.3, 1.0, 0.5], dtype=torch.float64).log()
    expected = [0.5 * math.log(2) + 0.5 * math.log(2 / 3), math.log(2), math.inf, 0.0, 0.0, math.log(2)]
    assert binary_kl(first, second).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("advantage", "now", "then", "kept"),
    [
        (-1.0, 0.85, 0.95, False),  # 0.0508 nats, while total variation is 0.1
        (-1.0, 0.87, 0.95, True),
        (1.0, 0.67, 0.53, True),
        (1.0, 0.70, 0.53, False),
        (1.0, 1.0, 0.999, False),
        (1.0, 0.85, 0.95, True),
    ],
)
def test_kl_holds_sooner_near_certainty(advantage: float, now: float, then: float, kept: bool) -> None:
    found = made(recipes.dppo_kl, [advantage], [[now]], [[then]])
    assert found.cotangent.logprobs.item() == pytest.approx(kept * advantage * now / then, rel=1e-12)


def test_a_cap_holds_the_weight_and_leaves_the_gradient() -> None:
    capped = replace(DPPO, objective=DivergenceMask(cap=3.0))
    found = made(capped, [1.0, -1.0], [[4e-4, 2e-4], [4e-4, 1e-5]], [[1e-4, 1e-4], [1e-4, 1e-4]])
    expected = [[3.0, 2.0], [-3.0, -0.1]]
    torch.testing.assert_close(found.cotangent.logprobs, torch.tensor(expected, dtype=torch.float64))
    assert found.clipped.tolist() == [[1, 0], [1, 0]]


def test_the_sampler_is_who_sampled_and_not_the_learner_before_the_draw() -> None:
    """Of a demonstration, which nobody sampled, it is π_old."""
    other = torch.full((2, 1), 0.5, dtype=torch.float64).log()
    demonstrated = torch.tensor([False, True])
    found = made(DPPO, [1.0, 1.0], [[0.5], [0.5]], [[0.25], [0.4]], behavior_logprobs=other, demonstrated=demonstrated)
    assert found.cotangent.logprobs.flatten().tolist() == pytest.approx([1.0, 0.5 / 0.4])
    with pytest.raises(ValueError, match="behavior_logprobs"):
        made(DPPO, [1.0], [[0.5]], [[0.25]], behavior_logprobs=None)


# VESPO


def kernel(w: float, k: float, lam: float) -> float:
    return w**k * math.exp(lam * (1 - w))


def test_the_kernel_of_a_completion() -> None:
    """W = 0.5 · 1.2 = 0.6 and 2 · 1.5 = 3, reinforced with (2, 3), suppressed with (3, 2)."""
    now, then = [[0.1, 0.24], [0.4, 0.6]] * 2, [[0.2, 0.2], [0.2, 0.4]] * 2
    found = made(recipes.vespo, [1.0, 2.0, -1.0, -2.0], now, then)
    expected = [kernel(0.6, 2, 3), 2 * kernel(3, 2, 3), -kernel(0.6, 3, 2), -2 * kernel(3, 3, 2)]
    torch.testing.assert_close(
        found.cotangent.logprobs, torch.tensor(expected, dtype=torch.float64)[:, None].expand(4, 2), rtol=1e-12, atol=0
    )
    assert found.ratio[:, 0].tolist() == pytest.approx([0.6, 3.0, 0.6, 3.0])


def test_the_kernel_is_1_on_policy_and_largest_at_k_over_lambda() -> None:
    """Proposition C.1: (2/3)² e and (3/2)³ / e."""
    on_policy = made(recipes.vespo, [1.0, -1.0], [[0.3], [0.3]], [[0.3], [0.3]])
    assert on_policy.cotangent.logprobs.flatten().tolist() == pytest.approx([1.0, -1.0], abs=1e-15)
    largest = made(recipes.vespo, [1.0, -1.0], [[0.2], [0.3]], [[0.3], [0.2]]).cotangent.logprobs.flatten()
    assert largest.tolist() == pytest.approx([(2 / 3) ** 2 * math.e, -((3 / 2) ** 3) / math.e], rel=1e-12)


def test_what_is_far_away_has_no_gradient_and_no_nan() -> None:
    """e^±750 is outside of float64."""
    far = torch.full((1, 3), 1e-109, dtype=torch.float64).tolist()
    for now, then in ((far, [[1.0] * 3]), ([[1.0] * 3], far)):
        found = made(recipes.vespo, [1.0], now, then)
        assert found.cotangent.logprobs.flatten().tolist() == [0.0] * 3


def test_what_a_tool_said_is_in_no_product() -> None:
    hole: Tensor = torch.tensor([[True, False, True]])
    found = made(recipes.vespo, [1.0], [[0.1, 0.9, 0.24]], [[0.2, 0.1, 0.2]], mask=hole)
    assert found.cotangent.logprobs[0, 0].item() == pytest.approx(kernel(0.6, 2, 3), rel=1e-12)
    assert found.cotangent.logprobs[0, 1].item() == 0.0


# LUSPO


def test_a_completion_weighs_as_much_as_it_is_long(worked: Any) -> None:
    """Every term of GSPO times |o_i|, over the same count."""
    objective = ClippedSequenceRatio(2e-3, 2.5e-3)
    gspo = replace(recipes.luspo, objective=objective, aggregation=SequenceMean())
    assert recipes.luspo == replace(gspo, aggregation=SequenceSum())
    plain, long = (
        gradient_coefficient(each, each.prepare(worked.signals), worked.outputs) for each in (gspo, recipes.luspo)
    )
    lengths = worked.signals.mask.sum(dim=1, keepdim=True)
    torch.testing.assert_close(long.cotangent.logprobs, plain.cotangent.logprobs * lengths, rtol=1e-12, atol=1e-15)


def test_options_are_in_the_formulas() -> None:
    assert "D > 0.1 where A > 0, 0.5 where A < 0" in DivergenceMask("kl", 0.5, 0.1, 5.0).formula()
    assert "min(w, 5)" in DivergenceMask("kl", 0.5, 0.1, 5.0).formula()
    assert "k = 2 and λ = 3 where A ≥ 0, 3 and 2 elsewhere" in GammaWeight().formula()
