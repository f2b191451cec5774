"""Corrections for a sampler that disagrees: the worked losses, and what carries weight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from groupwise.algorithm import (
    KL,
    Algorithm,
    ClippedRatio,
    Correction,
    GeometricReject,
    GroupRelative,
    RejectMismatch,
    TokenMean,
    TruncateMismatch,
    Uncorrected,
    gradient_coefficient,
)
from groupwise.sources import OnPolicy

ALGORITHM = Algorithm(OnPolicy(), GroupRelative(), ClippedRatio(), KL(0.0), TokenMean())


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        (Uncorrected(), 0.016027343782589864),
        (TruncateMismatch(2.0), 0.029720012777993358),
        (RejectMismatch(0.5, 2.0), -0.04070646375074),
        (TruncateMismatch(2.0, unit="sequence"), 0.12051103714459596),
        (RejectMismatch(0.5, 2.0, unit="sequence"), -0.19234909387848662),
    ],
    ids=str,
)
def test_worked_losses(worked: Any, correction: Correction, expected: float) -> None:
    algorithm = replace(ALGORITHM, correction=correction)
    signals = algorithm.prepare(worked.signals)
    assert signals.counts is not None
    objective = gradient_coefficient(algorithm, signals, worked.outputs).objective
    assert -float(objective / signals.counts.sum()) == pytest.approx(expected, abs=1e-9)


def test_weights_of_the_worked_example(worked: Any) -> None:
    """π_old/π_behavior of each token; e = 2.718 is the token that the sampler thought unlikely."""
    signals = worked.signals
    logprobs = torch.where(signals.mask, worked.outputs.logprobs, 0.0)

    def weights(correction: Correction) -> list[float]:
        return worked.flat(correction.weights(logprobs, ALGORITHM.prepare(signals)))

    near = [1.0, 1.1051709180756477, 1.0, 1.0512710963760241, 1.0]
    rest = [0.9048374180359597, 1.0, 1.0, 1.0512710963760241, 1.1051709180756477]
    assert weights(Uncorrected()) == [1.0] * 11
    assert weights(TruncateMismatch(3.0)) == pytest.approx([*near, 2.718281828459045, *rest], abs=1e-9)
    assert weights(TruncateMismatch(2.0)) == pytest.approx([*near, 2.0, *rest], abs=1e-9)
    assert weights(RejectMismatch(0.5, 2.0)) == pytest.approx([*near, 0.0, *rest], abs=1e-9)
    sequence = [1.1051709180756477] * 2 + [1.0] + [2.857651118063164] * 3
    assert weights(TruncateMismatch(3.0, unit="sequence"))[:6] == pytest.approx(sequence, abs=1e-9)


def test_whole_completions_are_rejected_by_their_mean_ratio(worked: Any) -> None:
    """Geometric means 1.051, 1, 1.419, 0.951, 1.025, 1.105: kept with weight 1 between 0.96 and 1.06."""
    prepared = ALGORITHM.prepare(worked.signals)
    logprobs = torch.where(prepared.mask, worked.outputs.logprobs, 0.0)
    assert GeometricReject(0.96, 1.06).weights(logprobs, prepared)[:, 0].tolist() == [1, 1, 0, 0, 1, 0]


def test_the_penalty_is_never_weighted(worked: Any) -> None:
    """With no advantage only the KL is left, and a correction changes nothing."""
    level = worked.with_signals(rewards=torch.zeros_like(worked.signals.rewards))
    plain = replace(ALGORITHM, kl=KL(0.04))
    found = [
        gradient_coefficient(algorithm, algorithm.prepare(level.signals), level.outputs).cotangent.logprobs
        for algorithm in (plain, replace(plain, correction=TruncateMismatch(2.0)))
    ]
    assert torch.equal(*found)
    assert found[0].abs().sum() > 0


def test_without_the_samplers_numbers_it_says_so(worked: Any) -> None:
    algorithm = replace(ALGORITHM, correction=TruncateMismatch())
    blind = worked.with_signals(behavior_logprobs=None)
    with pytest.raises(ValueError, match="behavior_logprobs"):
        gradient_coefficient(algorithm, algorithm.prepare(blind.signals), blind.outputs)
