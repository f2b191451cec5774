"""This module computes linear layers on one input as one matrix product, where their weights lie side by side in
memory.

A layer may have a low-rank adapter of peft's beside it: W + scale · B A (arXiv 2106.09685).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def share_storage(modules: Sequence[nn.Module]) -> None:
    """Lays the weights (and biases) of linear layers side by side in memory; each keeps its name, shape and values.

    Layers of another kind than ``nn.Linear``, with an adapter or without, stay as they are, and so do parameters of
    which other processes hold a part.
    """
    if not known(modules):
        return
    modules = [base_of(module) for module in modules]
    for name in ("weight", "bias"):
        parameters = [parameter for module in modules if (parameter := module._parameters.get(name)) is not None]
        if len(parameters) != len(modules) or any(type(parameter.data) is not Tensor for parameter in parameters):
            continue
        if side_by_side([parameter.data for parameter in parameters]):
            continue
        joint = torch.cat([parameter.data for parameter in parameters])
        for parameter, part in zip(parameters, joint.split([len(p) for p in parameters]), strict=True):
            parameter.data = part


def plain(modules: Sequence[nn.Module]) -> bool:
    """Says whether each is ``weight · x + bias`` and nothing beside it; all or none have a bias."""
    return all(type(module) is nn.Linear for module in modules) and len({m.bias is None for m in modules}) == 1


class Adapter(NamedTuple):
    """This is a low-rank adapter beside a weight: both matrices and the scale of their product."""

    a: Tensor  # [rank, inputs]
    b: Tensor  # [outputs, rank]
    scale: float


def base_of(module: nn.Module) -> Any:
    """The layer that an adapter stands beside; else ``module``."""
    if type(module) is nn.Linear or not hasattr(module, "get_base_layer"):
        return module
    return module.get_base_layer()  # type: ignore[operator]


def adapter_of(module: Any) -> Adapter | None:
    """Returns the adapter that stands beside a layer; None where nothing does. Raises ValueError for what is no plain
    low-rank adapter."""
    if base_of(module) is module:
        return None
    active = list(getattr(module, "active_adapters", ()))
    name = active[0] if len(active) == 1 else ""
    if name not in getattr(module, "lora_A", ()) or module.disable_adapters or module.merged or module.lora_variant:
        raise ValueError("not one adapter that is a product of two matrices")
    if not plain([module.lora_A[name], module.lora_B[name]]) or type(module.lora_dropout[name]) is not nn.Identity:
        raise ValueError("an adapter with more than two matrices")
    return Adapter(module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name])


def known(modules: Sequence[nn.Module]) -> bool:
    """Says whether there are any, and each is ``weight · x + bias``, or that with a low-rank adapter; all or none have
    a bias."""
    bases = [base_of(module) for module in modules]
    if not bases:
        return False
    try:
        kinds = {adapter.a.dtype for module in modules if (adapter := adapter_of(module))}
    except ValueError:
        return False
    weights = {bases[0].weight.dtype}
    return plain(bases) and kinds <= (weights | {torch.float32} if torch.bfloat16 in weights else weights)


class StackedLinear(NamedTuple):
    """This is layers on one input as one, row after row: ``y = weight x + bias + b (a x)``."""

    weight: Tensor
    bias: Tensor | None
    a: Tensor | None  # [ranks, inputs]
    b: Tensor | None
    """``[outputs, ranks]``, the scale in it; 0 where a layer's adapter would reach another's outputs."""
    learns: bool
    """Whether the weights take a gradient."""

    @property
    def rank(self) -> int:
        """Returns the rank of the adapters together; 0: there are none."""
        return 0 if self.a is None else len(self.a)


def tensors_of(modules: Sequence[nn.Module]) -> list[Tensor | None]:
    """Returns weights, biases, adapters' a and b, in this order: what ``stack`` takes apart."""
    bases, adapters = [base_of(module) for module in modules], [adapter_of(module) for module in modules]
    into, out_of = ([adapter and adapter[side] for adapter in adapters] for side in (0, 1))
    return [*(base.weight for base in bases), *(base.bias for base in bases), *into, *out_of]


def scales_of(modules: Sequence[nn.Module]) -> tuple[float, ...]:
    """Returns the scales of the adapters; 0 where there is none."""
    return tuple(adapter.scale if (adapter := adapter_of(module)) else 0.0 for module in modules)


def stack(tensors: Sequence[Any], scales: Sequence[float]) -> StackedLinear:
    """Returns several weights of one input as one."""
    weights, *others = _columns(tensors, len(scales))
    wide: list[list[Any]] = [[None if part is None else widened(part) for part in each] for each in others]
    biases, into, out_of = wide
    bias = None if biases[0] is None else concatenate(biases)
    learns, a, b = any(weight.requires_grad for weight in weights), None, None
    present = [part for part in into if part is not None]
    if present:
        a = torch.cat(present)
        b = a.new_zeros(sum(map(len, weights)), len(a))
        for rows, ranks, part, scale in _blocks(weights, out_of, scales):
            torch.mul(part, scale, out=b[rows, ranks])
    return StackedLinear(concatenate(weights).contiguous(), bias, a, b, learns)


def widened(x: Tensor) -> Tensor:
    """Returns float32 of bfloat16, anything else as it is."""
    return x.float() if x.dtype == torch.bfloat16 else x


def unstack(tensors: Sequence[Any], scales: Sequence[float], found: StackedLinear) -> list[Tensor | None]:
    """Returns gradients of ``tensors``, in their order, of what ``stack`` made of them."""
    weights, _, into, out_of = _columns(tensors, len(scales))
    none: list[Any] = [None] * len(scales)
    sizes = list(map(len, weights))
    dweights = found.weight.split(sizes) if found.learns else none
    dbiases = none if found.bias is None else found.bias.split(sizes)
    da, db = list(none), list(none)
    if found.a is not None and found.b is not None:
        present = [number for number, part in enumerate(into) if part is not None]
        blocks = list(_blocks(weights, out_of, scales))
        for number, (rows, ranks, _, scale) in zip(present, blocks, strict=True):
            da[number], db[number] = found.a[ranks], found.b[rows, ranks] * scale
    return [*dweights, *dbiases, *da, *db]


def _columns(tensors: Sequence[Any], count: int) -> list[Sequence[Any]]:
    return [tensors[start : start + count] for start in range(0, 4 * count, count)]


def _blocks(weights: Sequence[Tensor], out_of: Sequence[Any], scales: Sequence[float]) -> Any:
    """Of every layer with an adapter: its rows and ranks among all, its b and its scale."""
    row = rank = 0
    for weight, part, scale in zip(weights, out_of, scales, strict=True):
        if part is not None:
            yield slice(row, row + len(weight)), slice(rank, rank + part.shape[1]), part, scale
            rank += part.shape[1]
        row += len(weight)


def concatenate(tensors: Sequence[Tensor]) -> Tensor:
    """Makes one tensor of several, row after row: a view where they lie side by side, else a copy."""
    if len(tensors) == 1 or not side_by_side(tensors):
        return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
    first, rows = tensors[0], sum(len(part) for part in tensors)
    return first.as_strided((rows, *first.shape[1:]), first.stride(), first.storage_offset())


def side_by_side(tensors: Sequence[Tensor]) -> bool:
    """Says whether each begins in memory where the one before it ends."""
    ends = [part.data_ptr() + part.numel() * part.element_size() for part in tensors]
    storage = tensors[0].untyped_storage().data_ptr()
    return ends[:-1] == [part.data_ptr() for part in tensors[1:]] and all(
        part.untyped_storage().data_ptr() == storage and part.is_contiguous() for part in tensors
    )


def linears(modules: Sequence[nn.Module], x: Tensor) -> tuple[Tensor, ...]:
    """Returns what each layer makes of ``x`` ``[N, d]``, differentiable; one matrix product where ``plain`` allows
    it."""
    if not plain(modules):
        return tuple(module(x) for module in modules)
    weights: list[Any] = [module.weight for module in modules]
    biases: list[Any] = [module.bias for module in modules]
    if torch.is_grad_enabled():
        outputs = _Stacked.apply(x, len(weights), *weights, *biases)
    else:
        outputs = F.linear(x, concatenate(weights), None if biases[0] is None else concatenate(biases))
    return outputs.split([len(weight) for weight in weights], dim=-1)


class _Stacked(torch.autograd.Function):
    """This multiplies by several weights at once, with a backward pass that gives each its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, *parameters: Tensor | None) -> Tensor:
        weights, biases = parameters[:count], parameters[count:]
        ctx.save_for_backward(x, *weights)
        ctx.biased = biases[0] is not None
        bias = concatenate(biases) if ctx.biased else None  # type: ignore[arg-type]
        return F.linear(x, concatenate(weights), bias)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, *weights = ctx.saved_tensors
        sizes = [len(weight) for weight in weights]
        dx = dy @ concatenate(weights) if ctx.needs_input_grad[0] else None
        dweights = (dy.T @ x).split(sizes) if ctx.needs_input_grad[2] else (None,) * len(sizes)
        dbiases = dy.sum(0).split(sizes) if ctx.biased else (None,) * len(sizes)
        return dx, None, *dweights, *dbiases
