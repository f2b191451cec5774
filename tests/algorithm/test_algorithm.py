"""The centre: gradient coefficients equal the analytic ones, for any split, whatever stands in masked places."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from groupwise import recipes
from groupwise.algorithm import (
    KL,
    Algorithm,
    ClippedRatio,
    ConstantLength,
    GroupTokenMean,
    Outputs,
    SequenceSum,
    TokenMean,
    gradient_coefficient,
)

DLOSS = {
    "sequence mean, k3": (
        recipes.grpo,
        [
            0.0010989331798812022, -0.0874464912080502, -0.006103605526759306, 0.030130814678681794,
            0.04522333216616798, -0.0018269306675344644, 0.08259532413946608, 0.10773944878040709,
            -0.06584681664490954, -0.09583514719308596, 0.0021978663597624045,
        ],
    ),
    "sequence mean, weighted k3": (
        replace(recipes.grpo, kl=KL(0.04, weight="live")),
        [
            0.0017998117434346707, -0.08731170695954027, -0.0027630553236943503, 0.030219181204666483,
            0.04618086837741842, -0.000987757627575624, 0.08266666666666664, 0.10807213923788489,
            -0.06554906590850991, -0.09546404694417393, 0.006558941629751864,
        ],
    ),
    "token mean, no KL": (
        replace(recipes.grpo, kl=KL(0.0), aggregation=TokenMean()),
        [
            0.0, -0.0945910712881996, 0.0, 0.048645808576308326, 0.07257101867086628, 0.0, 0.0909090909090909,
            0.1167295833352492, -0.07080007118830954, -0.10562129479348029, 0.0,
        ],
    ),
    "constant length, no KL": (
        replace(recipes.grpo, kl=KL(0.0), aggregation=ConstantLength(4)),
        [
            0.0, -0.04335424100709148, 0.0, 0.022295995597474645, 0.03326171689081371, 0.0, 0.04166666666666666,
            0.05350105902865588, -0.0324500326279752, -0.04840976011367846, 0.0,
        ],
    ),
}  # fmt: skip


def dloss(algorithm: Algorithm, worked: Any) -> Tensor:
    signals = algorithm.prepare(worked.signals)
    found = gradient_coefficient(algorithm, signals, worked.outputs)
    return -found.cotangent.logprobs / signals.counts.sum()


@pytest.mark.parametrize("name", DLOSS)
def test_worked_gradients(worked: Any, name: str) -> None:
    algorithm, expected = DLOSS[name]
    found = dloss(algorithm, worked)
    assert worked.flat(found) == pytest.approx(expected, abs=1e-9)
    assert (found[~worked.signals.mask] == 0).all()


def test_supervised_coefficient_is_one(worked: Any) -> None:
    """Table 10, first row: GC = 1, so that ∂L/∂log π is -1/(B·|o|)."""
    signals = recipes.sft.prepare(worked.signals)
    found = gradient_coefficient(recipes.sft, signals, worked.outputs)
    assert signals.weights is not None
    assert signals.counts is not None
    torch.testing.assert_close((found.cotangent.logprobs / signals.weights)[signals.mask], torch.ones(11).double())
    assert -float(found.objective / signals.counts.sum()) == pytest.approx(0.8069444444444445, abs=1e-9)
    expected = [-1 / 12, -1 / 12, -1 / 6, -1 / 18, -1 / 18, -1 / 18, -1 / 12, -1 / 12, -1 / 12, -1 / 12, -1 / 6]
    assert worked.flat(dloss(recipes.sft, worked)) == pytest.approx(expected, abs=1e-9)


GC_ON_POLICY = [
    1.1461258087921629, 1.1541391487937505, -0.6568941756092759, -0.4879885294136036, -0.48418202613504197,
    -0.47018767383200183, -0.991143889673593, -1.0, 1.0, 0.9927492301231192, 0.02594885082800513,
]  # fmt: skip


@pytest.mark.parametrize("anchor", ["given", "left out"])
def test_on_policy_coefficient_is_equation_21(worked: Any, anchor: str) -> None:
    """GC = A + β(π_ref/π_θ - 1) where π_θ = π_old, said explicitly or by leaving π_old out."""
    old = worked.signals.old_logprobs
    on_policy = replace(worked, outputs=Outputs(old))
    if anchor == "left out":
        on_policy = on_policy.with_signals(old_logprobs=None)
    signals = recipes.grpo.prepare(on_policy.signals)
    found = gradient_coefficient(recipes.grpo, signals, on_policy.outputs)
    assert signals.weights is not None
    assert signals.counts is not None
    assert worked.flat(found.cotangent.logprobs / signals.weights) == pytest.approx(GC_ON_POLICY, abs=1e-9)
    assert -float(found.objective / signals.counts.sum()) == pytest.approx(0.0014228468515943861, abs=1e-9)
    assert worked.flat(found.ratio) == [1.0] * 11
    assert not found.clipped.any()


def test_on_policy_the_surrogate_is_zero_and_its_gradient_is_not(worked: Any) -> None:
    algorithm = replace(recipes.grpo, kl=KL(0.0))
    on_policy = replace(worked, outputs=Outputs(worked.signals.old_logprobs))
    found = gradient_coefficient(algorithm, algorithm.prepare(on_policy.signals), on_policy.outputs)
    assert float(found.objective) == pytest.approx(0.0, abs=1e-12)
    assert float(found.cotangent.logprobs.abs().sum()) > 1


def test_equal_rewards_leave_only_the_penalty(worked: Any) -> None:
    """A = 0 exactly; the KL term still acts: ∂J/∂log π = w·β(π_ref/π_θ - 1)."""
    level = worked.with_signals(rewards=worked.signals.rewarded.double() * 0.9)
    signals = recipes.grpo.prepare(level.signals)
    found = gradient_coefficient(recipes.grpo, signals, level.outputs)
    assert signals.weights is not None
    assert signals.reference_logprobs is not None
    expected = signals.weights * 0.04 * torch.expm1(signals.reference_logprobs - level.outputs.logprobs)
    assert worked.flat(found.cotangent.logprobs) == pytest.approx(worked.flat(expected), abs=1e-12)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf"), 1e30])
def test_masked_tokens_have_no_influence(worked: Any, poison: float) -> None:
    clean = {
        name: getattr(worked.signals, name) for name in ("old_logprobs", "reference_logprobs", "behavior_logprobs")
    }
    mask = worked.signals.mask
    poisoned = worked.with_signals(**{name: torch.where(mask, tensor, poison) for name, tensor in clean.items()})
    poisoned = replace(poisoned, outputs=Outputs(torch.where(mask, worked.outputs.logprobs, poison)))
    for algorithm in (recipes.grpo, replace(recipes.grpo, kl=KL(0.04, weight="live")), recipes.sft):
        found = dloss(algorithm, poisoned)
        assert torch.equal(found, dloss(algorithm, worked))
        assert found.isfinite().all()


ALGORITHMS = (
    recipes.sft,
    recipes.grpo,
    replace(recipes.grpo, aggregation=TokenMean(), objective=ClippedRatio(0.2, 0.28), kl=KL(0.0)),
    replace(recipes.grpo, aggregation=GroupTokenMean()),
    replace(recipes.grpo, aggregation=SequenceSum(), kl=KL(0.1, "k2", "stopped")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5)), which=st.integers(0, len(ALGORITHMS) - 1))
def test_any_split_and_order_of_rows_gives_the_same(worked: Any, rows: list[int], cuts: set[int], which: int) -> None:
    """Also a group torn between micro-batches, and each part cut to its own width."""
    algorithm = ALGORITHMS[which]
    signals = algorithm.prepare(worked.signals)
    whole = gradient_coefficient(algorithm, signals, worked.outputs)
    total, gradient = torch.zeros(()).double(), torch.zeros(6, 3).double()
    edges = [0, *sorted(cuts), 6]
    for start, end in pairwise(edges):
        index = torch.tensor(rows[start:end])
        width = int(signals.mask[index].sum(dim=1).max())
        part = Outputs(worked.outputs.logprobs[index, :width])
        found = gradient_coefficient(algorithm, signals.rows(index, width), part)
        total += found.objective
        gradient[index, :width] = found.cotangent.logprobs
    torch.testing.assert_close(total, whole.objective, atol=1e-12, rtol=1e-12)
    assert torch.equal(gradient, whole.cotangent.logprobs)


def test_preparing_a_permuted_draw_permutes_everything(worked: Any) -> None:
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    for algorithm in ALGORITHMS:
        straight, permuted = algorithm.prepare(worked.signals), algorithm.prepare(worked.signals.rows(order))
        for name in ("advantages", "weights", "counts"):
            torch.testing.assert_close(getattr(permuted, name), getattr(straight, name)[order], atol=1e-12, rtol=1e-12)


def test_outputs_nobody_reads_have_no_cotangent(worked: Any) -> None:
    outputs = replace(worked.outputs, entropy=torch.ones(6, 3).double())
    found = gradient_coefficient(recipes.grpo, recipes.grpo.prepare(worked.signals), outputs)
    assert found.cotangent.entropy is None
    assert found.cotangent.values is None


def test_rewards_are_never_overwritten(worked: Any) -> None:
    before = worked.signals.rewards.clone()
    assert torch.equal(recipes.grpo.prepare(worked.signals).rewards, before)


def test_what_is_missing_is_named(worked: Any) -> None:
    with pytest.raises(ValueError, match=r"Algorithm\.prepare"):
        gradient_coefficient(recipes.grpo, worked.signals, worked.outputs)
    blind = worked.with_signals(reference_logprobs=None)
    with pytest.raises(ValueError, match="reference_logprobs"):
        gradient_coefficient(recipes.grpo, recipes.grpo.prepare(blind.signals), blind.outputs)
