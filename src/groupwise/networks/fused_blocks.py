"""The two halves of a block as one operation each, so that what lies between matrix products stays in cache.

Saved for the backward pass are the inputs and what a matrix product made; everything cheap is computed again, and so
are normed and turned queries and keys for attention's own backward pass (``Again``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels.half_blocks import FinishKept, FinishParts, ProjectParts
from groupwise.networks.block_backend import BlockPlan, linears_of
from groupwise.networks.blueprint import LayerParts
from groupwise.networks.linear import StackedLinear, stack, tensors_of, unstack, widened
from groupwise.networks.torch_ops import split_heads

Again = Callable[[], tuple[Tensor, ...]]
"""Queries, keys and values as they were: whoever holds it for a backward pass need not hold them."""


def project(x: Tensor, layer: LayerParts, how: BlockPlan) -> tuple[tuple[Tensor, ...], Again | None]:
    """Returns ``[N, heads, head_dim]`` turned queries, turned keys and values of ``x`` ``[N, d]``, differentiable; and
    how to have them again, where a gradient will want to."""
    norms = [None if norm is None else norm.weight for norm in (layer.q_norm, layer.k_norm)]
    before: Any = layer.before_attention
    given: tuple[Any, ...] = (before.weight, *norms, *tensors_of(linears_of(layer)[0]))
    if not torch.is_grad_enabled():
        return split_heads(how.half.project(x.contiguous(), _project_parts(given, how), how)[1], how.shape), None
    *made, raw = _Project.apply(x, how, *given)
    if norms[0] is None:
        return tuple(made), None

    def again() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return split_heads(how.half.rotate(raw, _project_parts(given, how), how), how.shape)

    return tuple(made), again


def _project_parts(tensors: Sequence[Any], how: BlockPlan) -> ProjectParts:
    norm, q_norm, k_norm, *others = tensors
    return ProjectParts(_scale(norm, how), _offset(q_norm, how), _offset(k_norm, how), stack(others, how.scales[0]))


class _Project(torch.autograd.Function):
    """This is ``project`` with a backward pass; the raw rows are its last output, kept for ``Again``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, how: BlockPlan, *tensors: Any) -> tuple[Tensor, ...]:
        raw, made = how.half.project(x.contiguous(), _project_parts(tensors, how), how)
        normed = tensors[1] is not None
        raw = raw if normed else raw[:0]
        ctx.mark_non_differentiable(raw)
        ctx.save_for_backward(x, raw if normed else None, *tensors)
        ctx.how = how
        return *split_heads(made, how.shape), raw

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, raw, *tensors = ctx.saved_tensors
        how: BlockPlan = ctx.how
        parts = _project_parts(tensors, how)
        dx, sums = how.half.project_backward(x.contiguous(), raw, parts, how, gradients[:3])
        dnorms = (sums.q_norm, sums.k_norm) if parts.q_norm is not None else (None, None)
        found = _gradients(sums.linear, parts.linear)
        return dx, None, sums.norm, *dnorms, *unstack(tensors[3:], how.scales[0], found)


def finish(x: Tensor, mixed: Tensor, layer: LayerParts, how: BlockPlan) -> Tensor:
    """Computes ``y + down(active(gate) · up)`` of the normed ``y = x + o(mixed)``, ``[N, d]``; what is added normed
    where the layer has norms for it; differentiable."""
    norms: list[Any] = [layer.after_attention, layer.before_mlp, layer.after_mlp]
    weights = [None if norm is None else norm.weight for norm in norms]
    given = [*weights, *(tensor for modules in linears_of(layer)[1:] for tensor in tensors_of(modules))]
    if torch.is_grad_enabled():
        return _Finish.apply(x, mixed, how, *given)
    return how.half.finish(x.contiguous(), mixed.contiguous(), _finish_parts(given, how), how, keep=False)[0]


def _finish_parts(tensors: Sequence[Any], how: BlockPlan) -> FinishParts:
    norms = [_offset(weight, how) for weight in tensors[:3]]
    linears = [stack(tensors[at : at + 4 * len(scales)], scales) for at, scales in _places(how)]
    return FinishParts(*norms, *linears)  # type: ignore[arg-type]


class _Finish(torch.autograd.Function):
    """This is ``finish`` with a backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mixed: Tensor, how: BlockPlan, *tensors: Any) -> Tensor:
        parts = _finish_parts(tensors, how)
        result, kept = how.half.finish(x.contiguous(), mixed.contiguous(), parts, how, keep=True)
        ctx.save_for_backward(mixed, *kept, *tensors)
        ctx.how = how
        return result

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        mixed, attended, middle, rows, added, *tensors = ctx.saved_tensors
        how: BlockPlan = ctx.how
        parts, kept = _finish_parts(tensors, how), FinishKept(attended, middle, rows, added)
        dx, dmixed, sums = how.half.finish_backward(dy.contiguous(), mixed.contiguous(), parts, how, kept)
        found = [_gradients(grown, linear) for grown, linear in zip(sums[3:], parts[3:], strict=True)]
        gradients = [
            each
            for (at, scales), part in zip(_places(how), found, strict=True)
            for each in unstack(tensors[at : at + 4 * len(scales)], scales, part)
        ]
        return dx, dmixed, None, *sums[:3], *gradients


def _gradients(sums: Any, linear: StackedLinear) -> StackedLinear:
    return StackedLinear(sums.weight, sums.bias, sums.a, sums.b, linear.learns)


def _places(how: BlockPlan) -> list[tuple[int, tuple[float, ...]]]:
    """Where the tensors of o, of gate and up, and of down begin, and their adapters' scales."""
    _, *others = how.scales
    starts = [3 + 4 * sum(map(len, others[:number])) for number in range(len(others))]
    return list(zip(starts, others, strict=True))


def _offset(weight: Tensor | None, how: BlockPlan) -> Tensor | None:
    return None if weight is None else _scale(weight, how)


def _scale(weight: Tensor, how: BlockPlan) -> Tensor:
    """What a norm multiplies by: in float32 where weights are bfloat16, which would lose an offset beside them."""
    return how.offset + widened(weight)
