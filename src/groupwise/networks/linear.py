"""Linear layers on one input as one matrix product, where their weights lie side by side in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def share_storage(modules: Sequence[nn.Module]) -> None:
    """Lays the weights (and biases) of linear layers side by side in memory; each keeps its name, shape and values.

    Layers of another kind than ``nn.Linear`` stay as they are.
    """
    if not plain(modules):
        return
    for name in ("weight", "bias"):
        parameters = [parameter for module in modules if (parameter := module._parameters.get(name)) is not None]
        if len(parameters) != len(modules) or side_by_side([parameter.data for parameter in parameters]):
            continue
        together = torch.cat([parameter.data for parameter in parameters])
        for parameter, part in zip(parameters, together.split([len(p) for p in parameters]), strict=True):
            parameter.data = part


def plain(modules: Sequence[nn.Module]) -> bool:
    """Whether each is ``weight · x + bias`` and nothing beside it; all or none have a bias."""
    return all(type(module) is nn.Linear for module in modules) and len({m.bias is None for m in modules}) == 1


def together(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor of several, row after row: a view where they lie side by side, else a copy."""
    if len(tensors) == 1 or not side_by_side(tensors):
        return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
    first, rows = tensors[0], sum(len(part) for part in tensors)
    return first.as_strided((rows, *first.shape[1:]), first.stride(), first.storage_offset())


def side_by_side(tensors: Sequence[Tensor]) -> bool:
    """Whether each begins in memory where the one before it ends."""
    ends = [part.data_ptr() + part.numel() * part.element_size() for part in tensors]
    storage = tensors[0].untyped_storage().data_ptr()
    return ends[:-1] == [part.data_ptr() for part in tensors[1:]] and all(
        part.untyped_storage().data_ptr() == storage and part.is_contiguous() for part in tensors
    )


def linears(modules: Sequence[nn.Module], x: Tensor) -> tuple[Tensor, ...]:
    """What each layer makes of ``x`` ``[N, d]``, differentiable; one matrix product where ``plain`` allows it."""
    if not plain(modules):
        return tuple(module(x) for module in modules)
    weights: list[Any] = [module.weight for module in modules]
    biases: list[Any] = [module.bias for module in modules]
    if torch.is_grad_enabled():
        joined = _Together.apply(x, len(weights), *weights, *biases)
    else:
        joined = F.linear(x, together(weights), None if biases[0] is None else together(biases))
    return joined.split([len(weight) for weight in weights], dim=-1)


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, *parameters: Tensor | None) -> Tensor:
        weights, biases = parameters[:count], parameters[count:]
        ctx.save_for_backward(x, *weights)
        ctx.biased = biases[0] is not None
        bias = together(biases) if ctx.biased else None  # type: ignore[arg-type]
        return F.linear(x, together(weights), bias)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, *weights = ctx.saved_tensors
        sizes = [len(weight) for weight in weights]
        dx = dy @ together(weights) if ctx.needs_input_grad[0] else None
        dweights = (dy.T @ x).split(sizes) if ctx.needs_input_grad[2] else (None,) * len(sizes)
        dbiases = dy.sum(0).split(sizes) if ctx.biased else (None,) * len(sizes)
        return dx, None, *dweights, *dbiases
