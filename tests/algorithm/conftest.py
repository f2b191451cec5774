"""The worked example: two prompts with three completions each, small enough to check with a pocket calculator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise.algorithm import Outputs, Signals

LENGTHS = (2, 1, 3, 2, 2, 1)
REWARDS = (1.0, 0.0, 0.1, 0.2, 0.8, 0.5)
LOGPROBS = ((-0.2, -1.1), (-1.15,), (-0.1, -0.4, -1.8), (-1.2, -0.05), (-0.65, -0.45), (-1.1,))
OLD = ((-0.5, -1.0), (-0.7,), (-0.2, -0.9, -1.5), (-1.2, -0.3), (-0.4, -0.6), (-2.0,))
REFERENCE = ((-0.6, -0.9), (-0.5,), (-0.3, -0.9, -1.2), (-1.0, -0.3), (-0.4, -0.8), (-1.5,))
BEHAVIOR = ((-0.5, -1.1), (-0.7,), (-0.25, -0.9, -2.5), (-1.1, -0.3), (-0.4, -0.65), (-2.1,))


def padded(rows: tuple[tuple[float, ...], ...], blank: float = float("nan")) -> Tensor:
    return torch.tensor([[*row, *[blank] * (3 - len(row))] for row in rows], dtype=torch.float64)


@dataclass(frozen=True)
class Worked:
    """Masked places hold NaN wherever a log-probability stands: nothing may read them."""

    signals: Signals
    outputs: Outputs

    def with_signals(self, **changes: Any) -> Worked:
        return replace(self, signals=replace(self.signals, **changes))

    def ragged(self, tensor: Tensor) -> list[list[float]]:
        """``[B, T]`` without its masked places."""
        return [row[mask].tolist() for row, mask in zip(tensor, self.signals.mask, strict=True)]

    def flat(self, tensor: Tensor) -> list[float]:
        return tensor[self.signals.mask].tolist()


@pytest.fixture
def worked() -> Worked:
    mask = torch.tensor([[place < length for place in range(3)] for length in LENGTHS])
    rewards, rewarded = torch.zeros(6, 3, dtype=torch.float64), torch.zeros(6, 3, dtype=torch.bool)
    for row, (length, reward) in enumerate(zip(LENGTHS, REWARDS, strict=True)):
        rewards[row, length - 1], rewarded[row, length - 1] = reward, True
    signals = Signals(
        mask=mask,
        group=torch.tensor([0, 0, 0, 1, 1, 1]),
        rewards=rewards,
        rewarded=rewarded,
        finished=torch.ones(6, dtype=torch.bool),
        correct=(torch.tensor(REWARDS, dtype=torch.float64) >= 1).double(),
        behavior_logprobs=padded(BEHAVIOR),
        old_logprobs=padded(OLD),
        reference_logprobs=padded(REFERENCE),
    )
    return Worked(signals, Outputs(padded(LOGPROBS)))
