"""A batch is what a learner is given to learn from: rollouts and the numbers of their gradient, as plain values.

A batch holds no function and no handle, so that it can be sent to another process, whole or in parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from groupwise.algorithm import Algorithm, Signals
from groupwise.types import Rollout


@dataclass(frozen=True, eq=False)
class TrainBatch:
    """The rows of a draw that one accumulation learns from. ``signals`` are prepared (``Algorithm.prepare``)."""

    rollouts: tuple[Rollout, ...]
    signals: Signals
    temperature: float
    """Of the log-probabilities: logits are divided by it."""
    rows: tuple[int, ...]
    """Each one's row number in the draw."""
    together: tuple[int, ...] | None = None
    """Rows with one number go through the network in one micro-batch; None: each may go alone."""

    @staticmethod
    def of(algorithm: Algorithm, rollouts: Sequence[Rollout], signals: Signals) -> TrainBatch:
        """Makes a batch of all rows of a draw, to be learned from by ``algorithm``."""
        joined = tuple(signals.group.tolist()) if algorithm.objective.joins_group() else None
        return TrainBatch(
            tuple(rollouts), signals, algorithm.source.temperature, tuple(range(len(rollouts))), together=joined
        )

    def part(self, places: Sequence[int]) -> TrainBatch:
        """Returns the rows at these places of the batch, no wider than their longest completion."""
        rollouts = tuple(self.rollouts[place] for place in places)
        width = max((len(rollout.tokens) for rollout in rollouts), default=0)
        return replace(
            self,
            rollouts=rollouts,
            signals=self.signals.rows(torch.tensor(places, dtype=torch.long), width),
            rows=tuple(self.rows[place] for place in places),
            together=None if self.together is None else tuple(self.together[place] for place in places),
        )

    @property
    def count(self) -> float:
        """Returns what its rows add to the denominator of J."""
        assert self.signals.counts is not None
        return float(self.signals.counts.sum())

    @property
    def is_empty(self) -> bool:
        """Says whether no token is learned from: its gradient is 0 whatever the weights are, and nothing divides it."""
        assert self.signals.learned is not None
        return not (self.count and self.signals.learned.any())


def own_tokens(signals: Signals) -> Tensor:
    """Returns ``[B, T]`` bool: tokens that the policy which learns from them has drawn, as it is now. None of a
    demonstration, and none where nothing says whose completions these are."""
    if signals.off_policy is None or signals.demonstrated is None:
        return torch.zeros_like(signals.mask)
    return signals.mask & ~(signals.off_policy | signals.demonstrated[:, None])
