"""Aggregations: weights and counts by hand, and the loss table of the worked example."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from groupwise.algorithm import (
    KL,
    Aggregation,
    Algorithm,
    ClippedRatio,
    ConstantLength,
    GroupRelative,
    GroupTokenMean,
    SequenceMean,
    SequenceSum,
    TokenMean,
    gradient_coefficient,
)
from groupwise.sources import OnPolicy

GRPO = Algorithm(OnPolicy(), GroupRelative(), ClippedRatio(0.2, 0.2), KL(0.04), SequenceMean())
VARIANTS = (
    replace(GRPO, kl=KL(0.0)),
    GRPO,
    replace(GRPO, kl=KL(0.04, weight="live")),
    replace(GRPO, kl=KL(0.0), objective=ClippedRatio(0.2, 0.28)),
)
"""Surrogate alone; with 0.04·k3; with 0.04·weighted k3; clip-higher without KL."""

LOSSES: tuple[tuple[Aggregation, tuple[float, float, float, float]], ...] = (
    (SequenceMean(), (0.011277008623448603, 0.01505683665918305, 0.01523652169395992, 0.003610793209643748)),
    (TokenMean(), (0.016027343782589864, 0.019350547201006266, 0.01953961569798409, 0.007664199694802748)),
    (GroupTokenMean(), (0.020414904982174922, 0.023600666178172386, 0.023848741315363395, 0.01274868956837007)),
    (ConstantLength(4), (0.0073458659003536875, 0.008869000800461206, 0.008955657194909374, 0.0035127581934512597)),
    (SequenceSum(), (0.02938346360141475, 0.035476003201844825, 0.035822628779637496, 0.014051032773805039)),
)


def loss(algorithm: Algorithm, worked: Any) -> float:
    signals = algorithm.prepare(worked.signals)
    assert signals.counts is not None
    return -float(gradient_coefficient(algorithm, signals, worked.outputs).objective / signals.counts.sum())


@pytest.mark.parametrize(("aggregation", "expected"), LOSSES, ids=lambda value: type(value).__name__)
def test_loss_table(worked: Any, aggregation: Aggregation, expected: tuple[float, ...]) -> None:
    found = [loss(replace(variant, aggregation=aggregation), worked) for variant in VARIANTS]
    assert found == pytest.approx(list(expected), abs=1e-9)


def test_mean_only_advantage_over_a_constant_length(worked: Any) -> None:
    """Dr. GRPO: no standard deviation, no length, no KL."""
    algorithm = replace(VARIANTS[0], advantage=GroupRelative(scale="none"), aggregation=ConstantLength(4))
    assert loss(algorithm, worked) == pytest.approx(0.00045797234099369716, abs=1e-9)


MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 0, 1]]).bool()
GROUP = torch.tensor([5, 5, 2])


@pytest.mark.parametrize(
    ("aggregation", "weights", "counts"),
    [
        (SequenceMean(), [[1 / 3, 1 / 3, 1 / 3], [1, 0, 0], [0.5, 0, 0.5]], [1, 1, 1]),
        (TokenMean(), [[1, 1, 1], [1, 0, 0], [1, 0, 1]], [3, 1, 2]),
        (GroupTokenMean(), [[0.25, 0.25, 0.25], [0.25, 0, 0], [0.5, 0, 0.5]], [0.5, 0.5, 1]),
        (ConstantLength(10), [[0.1, 0.1, 0.1], [0.1, 0, 0], [0.1, 0, 0.1]], [1, 1, 1]),
        (SequenceSum(), [[1, 1, 1], [1, 0, 0], [1, 0, 1]], [1, 1, 1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_weights_and_counts(aggregation: Aggregation, weights: list[list[float]], counts: list[float]) -> None:
    found_weights, found_counts = aggregation.weights(MASK, GROUP)
    torch.testing.assert_close(found_weights, torch.tensor(weights, dtype=torch.float64))
    torch.testing.assert_close(found_counts, torch.tensor(counts, dtype=torch.float64))


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        (SequenceMean(), -0.0843191425224933),
        (TokenMean(), -0.1930537423773082),
        (ConstantLength(4), -0.06435124745910274),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fully_masked_completion_still_counts_as_a_sequence(
    worked: Any, aggregation: Aggregation, expected: float
) -> None:
    """Its tokens leave the sums and token counts; its row stays in a mean over sequences."""
    mask = worked.signals.mask.clone()
    mask[2] = False
    algorithm = replace(VARIANTS[0], aggregation=aggregation)
    assert loss(algorithm, worked.with_signals(mask=mask)) == pytest.approx(expected, abs=1e-9)
