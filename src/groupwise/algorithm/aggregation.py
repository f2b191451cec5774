"""This module says how token terms become one number: a local weight for each token, and an additive count divided by
once.

A row's weights depend on its own group and nothing else, and counts add up. Hence the gradient is the same for any
split into micro-batches, any order, padding, packing and number of ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from torch import Tensor

from groupwise.algorithm.signals import group_sum


@runtime_checkable
class Aggregation(Protocol):
    """This is the slot: J = Σ weights · terms / Σ counts."""

    def weights(self, mask: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the weights of ``mask`` ``[B, T]`` bool and ``group`` ``[B]``: weights ``[B, T]`` and counts ``[B]``,
        both float64."""
        ...

    def formula(self) -> str:
        """Returns the sum in front of a token's term, as its paper writes it."""
        ...


def _lengths(mask: Tensor) -> Tensor:
    return mask.double().sum(dim=1)


def _ones(mask: Tensor) -> Tensor:
    return torch.ones(len(mask), dtype=torch.float64, device=mask.device)


@dataclass(frozen=True)
class SequenceMean(Aggregation):
    """This aggregation gives 1/|o_i| a token and counts sequences: the mean of means of GRPO (DeepSeekMath eq. 3)."""

    count_empty: bool = True
    """Whether a completion whose every token is filtered out stays in the denominator, as in TRL."""

    def weights(self, mask: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Returns token weights ``[B, T]`` and what each completion adds to the denominator ``[B]``."""
        counts = _ones(mask) if self.count_empty else mask.any(dim=1).double()
        return mask / _lengths(mask).clamp(min=1)[:, None], counts

    def formula(self) -> str:
        return "(1/B) Σ_i (1/|o_i|) Σ_t"


@dataclass(frozen=True)
class TokenMean(Aggregation):
    """This aggregation gives 1 a token and counts tokens: every token of the batch weighs the same (DAPO as implemented
    in TRL and verl)."""

    def weights(self, mask: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Returns token weights ``[B, T]`` and what each completion adds to the denominator ``[B]``."""
        return mask.double(), _lengths(mask)

    def formula(self) -> str:
        return "(1/Σ_i|o_i|) Σ_i Σ_t"


@dataclass(frozen=True)
class GroupTokenMean(Aggregation):
    """This aggregation gives 1/Σ_i|o_i| a token of its group and counts groups: DAPO as its formula prints it (arXiv
    2503.14476, eq. 8).

    The rows of a group must be in the same draw; they need not be in the same micro-batch.
    """

    def weights(self, mask: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Returns token weights ``[B, T]`` and what each completion adds to the denominator ``[B]``."""
        tokens = group_sum(_lengths(mask), group).clamp(min=1)
        return mask / tokens[:, None], 1 / group_sum(_ones(mask), group)

    def formula(self) -> str:
        return "(1/P) Σ_groups (1/Σ_i|o_i|) Σ_i Σ_t"


@dataclass(frozen=True)
class ConstantLength(Aggregation):
    """This aggregation gives 1/length a token and counts sequences: no bias towards short or long answers (Dr. GRPO,
    arXiv 2503.20783)."""

    length: Annotated[float, "(0, inf)"]
    """The constant L, usually the largest completion length."""

    def weights(self, mask: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Returns token weights ``[B, T]`` and what each completion adds to the denominator ``[B]``."""
        return mask.double() / self.length, _ones(mask)

    def formula(self) -> str:
        return f"(1/B) Σ_i (1/{self.length:g}) Σ_t"


@dataclass(frozen=True)
class SequenceSum(Aggregation):
    """This aggregation gives 1 a token and counts sequences: the whole completion is one action (RLOO)."""

    def weights(self, mask: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Returns token weights ``[B, T]`` and what each completion adds to the denominator ``[B]``."""
        return mask.double(), _ones(mask)

    def formula(self) -> str:
        return "(1/B) Σ_i Σ_t"
