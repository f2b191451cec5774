"""A record is what one step leaves behind: the numbers of its draw, and the first number of an update that was not
finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from groupwise.algorithm import Signals
from groupwise.types import Group


@dataclass(frozen=True)
class BadNumber:
    """The first number of an update that is not finite."""

    kind: str
    """What it is one of: rewards, advantages, logprobs, coefficients, loss, gradient ..."""
    value: float
    count: int = 1
    """How many of its kind are not finite in its micro-batch."""
    row: int | None = None
    """Of the step's draw; None: it belongs to no completion."""
    token: int | None = None
    """Index into the completion's tokens."""
    example: str = ""
    """The row of the data."""

    def sentence(self) -> str:
        """Says where a number was not finite, and what it was."""
        if self.row is None:
            return f"{self.kind} is {self.value:g}"
        return (
            f"{self.kind} is {self.value:g} at token {self.token} of completion {self.row} of the step, prompt "
            f"{self.example} ({self.count} such in its micro-batch)"
        )


@dataclass(frozen=True)
class StepRecord:
    """A step record is what one step leaves behind, for the ledger and the report: numbers of the first pass over the
    draw."""

    step: int
    groups: Sequence[Group]
    signals: Signals
    logprobs: Tensor  # [B, T]
    coefficients: Tensor  # [B, T] ∂J/∂logprobs, every normaliser in it
    reads: str = "logprobs"  # or scores, which then stand where log-probabilities do
    bad: list[BadNumber] = field(default_factory=list)  # why updates were left out, one for each
    entropy: Tensor | None = None  # [B, T] nats of the next-token distribution, where it was computed

    @staticmethod
    def empty(groups: Sequence[Group], signals: Signals, step: int, reads: str = "logprobs") -> StepRecord:
        """Makes the record of the 0-based ``step``, before its first update."""
        logprobs, coefficients = torch.zeros(signals.mask.shape), torch.zeros(signals.mask.shape)
        return StepRecord(step + 1, groups, signals, logprobs, coefficients, reads)
