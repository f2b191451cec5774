"""This module keeps weights with adapters in them for the model that is sampled from, and gives their memory back while
the learner learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.learners.adapted_weights import AdaptedWeight, put_parameter


class MergedWeights:
    """These are W + scale · B A as parameters of a model's own: there from ``fill`` on, and until ``release``.

    What reads them after ``release`` finds weights without numbers, and raises. They lie in one piece of memory, which
    the system has back whole, one after the other as they stand in the model: those of one input side by side.
    """

    def __init__(self, model: nn.Module, weights: Sequence[AdaptedWeight]) -> None:
        for weight in weights:
            put_parameter(model, weight.name, weight.base.detach()[:0])
        self._pairs = [(weight, model.get_parameter(weight.name)) for weight in weights]
        self._piece: Tensor | None = None
        self.fill()

    @torch.no_grad()
    def fill(self) -> None:
        """Brings them up to date."""
        if self._piece is None and self._pairs:
            self._allocate()
        for weight, parameter in self._pairs:
            parameter.copy_(weight.merged()[0])

    def release(self) -> None:
        """Gives their memory back. On a GPU they stay: there recorded steps read the addresses that they have."""
        if self._piece is None or self._piece.device.type != "cpu":
            return
        for _, parameter in self._pairs:
            parameter.data = parameter.data.new_empty((0,) * parameter.dim())
        self._piece = None

    def _allocate(self) -> None:
        bases: list[Any] = [weight.base for weight, _ in self._pairs]
        self._piece = bases[0].new_empty(sum(base.numel() for base in bases))
        at = 0
        for base, (_, parameter) in zip(bases, self._pairs, strict=True):
            parameter.data = self._piece[at : at + base.numel()].view(base.shape)
            at += base.numel()
