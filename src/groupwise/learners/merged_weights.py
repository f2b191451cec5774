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

    What reads them after ``release`` finds weights without numbers, and raises. Weights that lay side by side in memory
    do so again.
    """

    def __init__(self, model: nn.Module, weights: Sequence[AdaptedWeight]) -> None:
        for weight in weights:
            put_parameter(model, weight.name, weight.base.detach().clone())
        self._pairs = [(weight, model.get_parameter(weight.name)) for weight in weights]
        self._released: list[tuple[nn.Parameter, Any, torch.Size, tuple[int, ...], int]] = []

    @torch.no_grad()
    def fill(self) -> None:
        """Brings them up to date."""
        self._allocate()
        for weight, parameter in self._pairs:
            parameter.copy_(weight.merged()[0])

    def release(self) -> None:
        """Gives their memory back. On a GPU they stay: there recorded steps read the addresses that they have."""
        if self._released or any(parameter.device.type != "cpu" for _, parameter in self._pairs):
            return
        for _, parameter in self._pairs:
            data = parameter.data
            place = data.untyped_storage().data_ptr(), data.shape, data.stride(), int(data.storage_offset())
            self._released.append((parameter, *place))
            parameter.data = data.new_empty(0)

    def _allocate(self) -> None:
        """One piece of memory for those that shared one."""
        ends: dict[Any, int] = {}
        for _, storage, shape, _, offset in self._released:
            ends[storage] = max(ends.get(storage, 0), offset + shape.numel())
        pieces: dict[Any, Tensor] = {}
        for parameter, storage, shape, stride, offset in self._released:
            if storage not in pieces:
                pieces[storage] = parameter.data.new_empty(ends[storage])
            parameter.data = pieces[storage].as_strided(shape, stride, offset)
        self._released = []
