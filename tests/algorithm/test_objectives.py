"""Surrogates: the worked numbers, where the clip acts and where it must not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise.algorithm import (
    ClippedRatio,
    ClippedSequenceRatio,
    ClippedWeight,
    GroupRelative,
    LogLikelihood,
    RegularisedRatio,
    Signals,
    Surrogate,
)

RATIOS = [
    1.3498588075760032, 0.9048374180359595, 0.6376281516217733, 1.1051709180756477, 1.6487212707001282,
    0.7408182206817179, 1.0, 1.2840254166877414, 0.7788007830714049, 1.161834242728283, 2.4596031111569494,
]  # fmt: skip
CLIPPED = [
    1.3799187744848693, 1.0405017841701956, -0.5326002287485462, -0.5351038943393915, -0.7982812053795291,
    -0.3873456209080336, -1.0, -1.2840254166877412, 0.7788007830714049, 1.161834242728283, 0.0,
]  # fmt: skip


def surrogate(objective: Any, worked: Any) -> Surrogate:
    signals = worked.signals
    old = torch.where(signals.mask, signals.old_logprobs, 0.0)
    logprobs = torch.where(signals.mask, worked.outputs.logprobs, 0.0)
    advantages = GroupRelative().advantages(signals)
    return objective.surrogate(logprobs, replace(signals, old_logprobs=old, advantages=advantages))


def one_token(ratio: float, advantage: float) -> tuple[Tensor, Signals]:
    """A single token whose policy has moved by ``ratio`` from an old log-probability of 0."""
    logprobs = torch.tensor([[ratio]], dtype=torch.float64).log().requires_grad_()
    blank, here = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool)
    return logprobs, Signals(
        mask=here,
        group=torch.zeros(1, dtype=torch.int64),
        rewards=blank,
        rewarded=here,
        finished=here[0],
        old_logprobs=blank,
        advantages=blank + advantage,
    )


def test_clipped_ratio_worked_example(worked: Any) -> None:
    found = surrogate(ClippedRatio(0.2, 0.2), worked)
    assert worked.flat(found.ratio) == pytest.approx(RATIOS, abs=1e-9)
    assert worked.flat(found.terms) == pytest.approx(CLIPPED, abs=1e-9)


def test_clip_higher_worked_example(worked: Any) -> None:
    """Only the first token is between 1.2 and 1.28 ... 1.35: it alone changes."""
    found = surrogate(ClippedRatio(0.2, 0.28), worked)
    assert worked.flat(found.terms) == pytest.approx([1.4719133594505274, *CLIPPED[1:]], abs=1e-9)


def test_clip_counts(worked: Any) -> None:
    """1 of 11 tokens above, 2 below; 7 are outside the range, and four of them move freely for their sign of A."""
    clipped = surrogate(ClippedRatio(0.2, 0.2), worked).clipped
    assert (int((clipped > 0).sum()), int((clipped < 0).sum())) == (1, 2)
    assert worked.flat(clipped) == [1, 0, -1, 0, 0, -1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("advantage", "ratio", "slope", "clipped"),
    [
        (1.0, 1.1, 1.0, 0),  # inside the range
        (1.0, 1.3, 0.0, 1),  # reinforced enough
        (1.0, 0.5, 1.0, 0),  # reinforced, and it had lost: free to come back
        (-1.0, 0.7, 0.0, -1),  # suppressed enough
        (-1.0, 5.0, -1.0, 0),  # suppressed, and it had gained: free to come back, however far
        (0.0, 5.0, 0.0, 0),
    ],
)
def test_the_clip_is_one_sided_for_each_sign(advantage: float, ratio: float, slope: float, clipped: int) -> None:
    """The slope ∂J/∂log π is c·r·A with c = 0 only beyond the clip."""
    logprobs, signals = one_token(ratio, advantage)
    found = ClippedRatio(0.2, 0.2).surrogate(logprobs, signals)
    found.terms.sum().backward()
    assert logprobs.grad is not None
    assert float(logprobs.grad) == pytest.approx(slope * ratio, abs=1e-12)
    assert int(found.clipped) == clipped


def test_log_likelihood_is_advantage_times_logprob(worked: Any) -> None:
    found = surrogate(LogLikelihood(), worked)
    advantages = GroupRelative().advantages(worked.signals)
    expected = worked.flat(advantages * torch.where(worked.signals.mask, worked.outputs.logprobs, 0.0))
    assert worked.flat(found.terms) == pytest.approx(expected, abs=1e-12)
    assert worked.flat(found.ratio) == pytest.approx(RATIOS, abs=1e-9)
    assert not found.clipped.any()


def test_a_clipped_weight_is_held_below_too_where_asked() -> None:
    """sg(clip(r, 0.8, 1.28)) A at r = 0.5: 0.8 with a lower bound, 0.5 without; the token keeps its gradient."""
    for objective, weight, side in ((ClippedWeight(low=0.2), 0.8, -1), (ClippedWeight(), 0.5, 0)):
        logprobs, signals = one_token(0.5, 1.0)
        found = objective.surrogate(logprobs, signals)
        found.terms.sum().backward()
        assert logprobs.grad is not None
        assert float(logprobs.grad) == pytest.approx(weight)
        assert int(found.clipped) == side


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual", "held"),
    [(1.5, 1.0, 0.0, True), (0.5, -1.0, 0.0, True), (5.0, -1.0, 0.0, False), (5.0, -1.0, 3.0, True)],
)
def test_the_regularised_clip(ratio: float, advantage: float, dual: float, held: bool) -> None:
    """RPG's: the ratio's own clip with A - β log w for the advantage; the dual clip lets go of a huge ratio."""
    logprobs, signals = one_token(ratio, advantage)
    found = RegularisedRatio("unnormalised-reverse", 0.01, 0.1, 0.1, dual).surrogate(logprobs, signals)
    found.terms.sum().backward()
    slope = 0.0 if held else ratio * (advantage - 0.01 * math.log(ratio))
    assert logprobs.grad is not None
    assert float(logprobs.grad) == pytest.approx(slope, abs=1e-12)
    assert (int(found.clipped) != 0) == held


def test_the_ratio_of_whole_sequences(worked: Any) -> None:
    """The product over tokens, where GSPO takes its geometric mean: log-ratios 0.3 - 0.1 and 0.1 + 0.5 - 0.3."""
    found = surrogate(ClippedSequenceRatio(0.2, 0.2, length="sum"), worked)
    assert float(found.ratio[0, 0]) == pytest.approx(math.exp(0.2))
    assert float(found.ratio[2, 0]) == pytest.approx(math.exp(0.3))
