"""This module names the weights that have adapters: those of linear layers, and of experts, whose weights are one
parameter."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class AdaptedWeight(NamedTuple):
    """This is a weight with an adapter beside it: ``name`` is the weight's in the model without adapters, ``layer``
    peft's, in which the adapter stands."""

    name: str
    layer: Any

    @property
    def base(self) -> nn.Parameter:
        """Returns W as it is frozen."""
        parameter = getattr(self.layer, "parameter_name", "weight")
        return getattr(self.layer.get_base_layer(), parameter)  # type: ignore[no-any-return]

    @torch.no_grad()
    def merged(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns W + scale · B A, W and scale · B A, the first in float32 at least."""
        base, delta = self.base, self.layer.get_delta_weight("default")
        exact = torch.promote_types(base.dtype, torch.float32)
        return base.to(exact) + delta.to(exact), base, delta


def adapted_weights(trained: Any) -> list[AdaptedWeight]:
    """Returns them in the model's order."""
    found = []
    for name, module in trained.named_modules():
        if hasattr(module, "get_delta_weight"):
            owner = name.replace(".base_layer", "")  # peft puts one around the other where a module has several
            found.append(AdaptedWeight(f"{owner}.{getattr(module, 'parameter_name', 'weight')}", module))
    return found


def put_parameter(model: nn.Module, name: str, value: Tensor) -> None:
    """Gives a model a frozen parameter of its own by that name."""
    owner, _, last = name.rpartition(".")
    setattr(model.get_submodule(owner), last, nn.Parameter(value, requires_grad=False))
