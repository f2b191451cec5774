"""KL estimators: worked values, and what each one's gradient really is, by exact enumeration of three tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise import recipes
from groupwise.algorithm import (
    KL,
    Algorithm,
    LogLikelihood,
    Outputs,
    RewardToGo,
    SequenceSum,
    Signals,
    gradient_coefficient,
)
from groupwise.algorithm.kl import k1, k2, k3
from groupwise.sources import OnPolicy

K3 = [
    0.07032004603563924, 0.0214027581601699, 0.2655408290138961, 0.018730753077981888, 0.10653065971263342,
    0.22211880039050902, 0.0214027581601699, 0.02880078307140499, 0.034025416687741394, 0.05468808971871342,
    0.07032004603563924,
]  # fmt: skip
WEIGHTED_K3 = [
    0.09492213349035764, 0.019366016432496195, 0.1693163079842439, 0.020700683575441508, 0.17563936464993593,
    0.16454965448525455, 0.0214027581601699, 0.03698093748419404, 0.026499021160743846, 0.0635384953045978,
    0.1729594040059582,
]  # fmt: skip


def penalties(worked: Any, kl: KL) -> list[float]:
    signals = worked.signals
    return worked.flat(kl.penalty(worked.outputs.logprobs, signals.old_logprobs, signals.reference_logprobs))


def test_worked_example(worked: Any) -> None:
    assert penalties(worked, KL(estimator="k1")) == pytest.approx(
        [0.4, -0.2, -0.65, 0.2, 0.5, -0.6, -0.2, 0.25, -0.25, 0.35, 0.4], abs=1e-9
    )
    assert penalties(worked, KL(estimator="k2"))[:3] == pytest.approx([0.08, 0.02, 0.21125], abs=1e-9)
    assert penalties(worked, KL(estimator="k3")) == pytest.approx(K3, abs=1e-9)
    assert penalties(worked, KL(estimator="k3", weight="live")) == pytest.approx(WEIGHTED_K3, abs=1e-9)
    assert penalties(worked, KL(estimator="k3", weight="stopped")) == pytest.approx(WEIGHTED_K3, abs=1e-9)


def test_k3_is_exact_where_the_two_nearly_agree() -> None:
    """x - log x - 1 written naively is rounding noise here; the true value is d²/2."""
    d = torch.tensor(1e-9, dtype=torch.float64)
    assert float(k3(torch.zeros(()).double(), d)) == pytest.approx(5e-19, rel=1e-6)
    assert float(k3(d, d)) == 0.0


OLD = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
REFERENCE = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
UNIFORM = torch.full((3,), 1 / 3, dtype=torch.float64)
REVERSE = [0.14686175999803547, 0.011706723961980726, -0.15856848396001622]  # ∇ KL(π_θ‖π_ref)
FORWARD = [0.1333333333333333, 0.03333333333333334, -0.16666666666666666]  # ∇ KL(π_ref‖π_θ)

GRADIENTS: dict[str, tuple[Tensor, KL, list[float]]] = {
    "on-policy k1: zero": (UNIFORM, KL(estimator="k1"), [0.0, 0.0, 0.0]),
    "on-policy k2: reverse": (UNIFORM, KL(estimator="k2"), REVERSE),
    "on-policy k3: forward": (UNIFORM, KL(estimator="k3"), FORWARD),
    "off-policy k3: neither": (
        OLD, KL(estimator="k3"), [0.15666666666666668, -0.013333333333333322, -0.1433333333333333]
    ),
    "off-policy live k1: reverse": (OLD, KL(estimator="k1", weight="live"), REVERSE),
    "off-policy live k2: neither": (
        OLD, KL(estimator="k2", weight="live"), [0.16610525131131204, -0.01069011466411443, -0.15541513664719764]
    ),
    "off-policy stopped k2: reverse": (OLD, KL(estimator="k2", weight="stopped"), REVERSE),
    "off-policy live k3: reverse": (OLD, KL(estimator="k3", weight="live"), REVERSE),
    "off-policy stopped k3: forward": (OLD, KL(estimator="k3", weight="stopped"), FORWARD),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_in_expectation(name: str) -> None:
    """E over the sampler of ∇ penalty, with respect to the logits of a uniform policy on three tokens."""
    sampler, kl, expected = GRADIENTS[name]
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    penalty = kl.penalty(logits.log_softmax(0), sampler.log(), REFERENCE.log())
    (sampler * penalty).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx(expected, abs=1e-9)


def test_value_in_expectation() -> None:
    """KL is 0.070240: k1 and k3 are unbiased on-policy, weighted k3 also off-policy, k2 and unweighted k3 are not."""
    theta, reference = UNIFORM.log(), REFERENCE.log()
    assert float((UNIFORM * k1(theta, reference)).sum()) == pytest.approx(0.07024034377188418, abs=1e-9)
    assert float((UNIFORM * k2(theta, reference)).sum()) == pytest.approx(0.07274093500812698, abs=1e-9)
    assert float((UNIFORM * k3(theta, reference)).sum()) == pytest.approx(0.07024034377188418, abs=1e-9)
    assert float((OLD * k3(theta, reference)).sum()) == pytest.approx(0.07592794495871037, abs=1e-9)
    weighted = KL(weight="live").penalty(theta, OLD.log(), reference)
    assert float((OLD * weighted).sum()) == pytest.approx(0.07024034377188418, abs=1e-9)


def test_a_bounded_estimate_has_no_gradient_beyond() -> None:
    logprobs = torch.tensor([-0.1, -6.0], dtype=torch.float64, requires_grad=True)
    nats = KL(1.0, bound=10.0).estimate(logprobs, torch.tensor([-0.2, -0.5]).double())
    nats.sum().backward()
    assert float(nats[1].detach()) == 10.0
    assert logprobs.grad is not None
    assert float(logprobs.grad[1]) == 0.0
    assert float(logprobs.grad[0]) != 0.0


def test_a_penalty_on_finished_advantages_is_the_sum_of_what_is_to_come(worked: Any) -> None:
    """β Σ_{u≥t} k1 of π_old: 0.1 and -0.1 nats on the first completion's two tokens."""
    plain, late = (replace(recipes.grpo, kl=KL(c, "k1", place="advantage")) for c in (0.0, 0.5))
    before, after = (algorithm.prepare(worked.signals).advantages for algorithm in (plain, late))
    assert before is not None
    assert after is not None
    assert (before - after)[0, :2].tolist() == pytest.approx([0.5 * (0.1 - 0.1), 0.5 * -0.1])
    assert not after[~worked.signals.mask].any()


def test_a_penalty_in_the_reward_needs_to_know_who_sampled(worked: Any) -> None:
    algorithm = replace(recipes.grpo, kl=KL(0.1, "k1", place="reward"))
    assert algorithm.needs_old_first
    with pytest.raises(ValueError, match="old_logprobs and reference_logprobs before the update"):
        algorithm.prepare(worked.with_signals(old_logprobs=None).signals)


def test_no_sample_estimates_the_exact_divergence() -> None:
    with pytest.raises(ValueError, match="from the network"):
        KL(0.1, "exact").estimate(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("k1", REVERSE),
        ("k2", [0.01924349131327657, -0.02239683862609515, 0.003153347312818586]),  # that of neither
        ("k3", [0.013528426664702164, -0.02162660937135261, 0.008098182706650452]),  # reverse less forward
    ],
)
def test_gradient_of_a_penalty_in_the_reward(estimator: Any, expected: list[float]) -> None:
    """E over the policy of A ∇ log π with A = -k: through prepare and gradient_coefficient, a token a row."""
    here = torch.ones(3, 1, dtype=torch.bool)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    logprobs = logits.log_softmax(0)
    algorithm = Algorithm(OnPolicy(), RewardToGo(), LogLikelihood(), KL(1.0, estimator, place="reward"), SequenceSum())
    signals = algorithm.prepare(
        Signals(
            mask=here,
            group=torch.arange(3),
            rewards=torch.zeros(3, 1, dtype=torch.float64),
            rewarded=here,
            finished=here[:, 0],
            old_logprobs=logprobs.detach()[:, None],
            reference_logprobs=REFERENCE.log()[:, None],
        )
    )
    found = gradient_coefficient(algorithm, signals, Outputs(logprobs.detach()[:, None]))
    logprobs.backward(-UNIFORM * found.cotangent.logprobs[:, 0])
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx(expected, abs=1e-9)
