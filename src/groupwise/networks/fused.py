"""The two halves of a block as one operation each, tile by tile, so that what lies between stays in cache.

Saved for the backward pass are the inputs and what a matrix product made; everything cheap is computed again, and so
are normed and turned queries and keys for attention's own backward pass (``Again``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels import halves, lanes
from groupwise.networks import plain as torch_steps
from groupwise.networks.blueprint import LayerParts
from groupwise.networks.linear import Joined, apart, joined, tensors_of
from groupwise.networks.ways import Settings, linears_of

Again = Callable[[], tuple[Tensor, ...]]
"""Queries, keys and values as they were: whoever holds it for a backward pass need not hold them."""

TILE = 512  # tokens: what a tile makes between its matrix products stays in a core's cache


def project(x: Tensor, layer: LayerParts, how: Settings) -> tuple[tuple[Tensor, ...], Again | None]:
    """``[N, heads, head_dim]`` turned queries, turned keys and values of ``x`` ``[N, d]``, differentiable; and how to
    have them again, where a gradient will want to."""
    norms = [None if norm is None else norm.weight for norm in (layer.q_norm, layer.k_norm)]
    given: tuple[Any, ...] = (x, how, layer.before_attention.weight, *norms, *tensors_of(linears_of(layer)[0]))
    if not torch.is_grad_enabled():
        return torch_steps.split_heads(_project(*given)[1], how.shape), None
    *parts, raw = _Project.apply(*given)
    if norms[0] is None:
        return tuple(parts), None

    def again() -> tuple[Tensor, ...]:
        made = torch.empty_like(raw)

        def work(tile: slice, lane: int) -> None:
            made[tile] = _turned(raw, tile, how, *norms)

        lanes.each_tile(_tiles(raw, how), work)
        return torch_steps.split_heads(made, how.shape)

    return tuple(parts), again


def _turned(raw: Tensor, tile: slice, how: Settings, q_weight: Any, k_weight: Any) -> Tensor:
    weights = _offset(q_weight, how), _offset(k_weight, how)
    return how.steps.heads(raw[tile], weights, _turns(how, tile), how.shape, how.eps)


def _project(x: Tensor, how: Settings, weight: Tensor, *parameters: Any) -> tuple[Tensor, Tensor]:
    """Rows of q, k and v as the matrix product leaves them, and as attention takes them."""
    norms, linear = parameters[:2], joined(parameters[2:], how.scales[0])
    raw, made = (x.new_empty(len(x), len(linear.weight)) for _ in range(2))
    x, scale, of_heads = x.contiguous(), how.offset + weight, [_offset(norm, how) for norm in norms]

    def work(tile: slice, lane: int) -> None:
        if how.whole:
            rows = raw[tile], made[tile]
            halves.project(x[tile], scale, how.eps, linear, of_heads, _turns(how, tile), how.shape, rows)
        else:
            _linear(how.steps.norm(x[tile], scale, how.eps), linear.weight, linear.bias, raw[tile])
            made[tile] = _turned(raw, tile, how, *norms)

    lanes.each_tile(_tiles(x, how), work)
    return raw, made


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, how: Settings, *parameters: Any) -> tuple[Tensor, ...]:
        raw, made = _project(x, how, *parameters)
        normed = parameters[1] is not None
        raw = raw if normed else raw[:0]
        ctx.mark_non_differentiable(raw)
        ctx.save_for_backward(x, raw if normed else None, *parameters)
        ctx.how = how
        return *torch_steps.split_heads(made, how.shape), raw

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, raw, weight, q_weight, k_weight, *parameters = ctx.saved_tensors
        how: Settings = ctx.how
        linear, scale = joined(parameters, how.scales[0]), how.offset + weight
        dx = torch.empty_like(x) if how.whole else torch.zeros_like(x)
        weights = _offset(q_weight, how), _offset(k_weight, how)
        of_head, bias = weight.new_empty(how.shape[2]), None if linear.bias is None else linear.weight[:, 0]
        gradients = tuple(part if _rows(part) else part.contiguous() for part in gradients[:3])
        sums = lanes.zeros(weight, of_head, of_head, _learned(linear), bias, linear.a, linear.b)

        def work(tile: slice, lane: int) -> None:
            rows = None if raw is None else raw[tile]
            parts = [gradient[tile] for gradient in gradients]
            if how.whole:
                turns, found = _turns(how, tile), (dx[tile], *sums[lane])
                halves.project_backward(x[tile], scale, how.eps, linear, rows, weights, turns, how.shape, parts, found)
                return
            draw, *found = how.steps.heads_backward(rows, weights, _turns(how, tile), how.shape, how.eps, parts)
            found.insert(0, how.steps.norm_backward(x[tile], scale, how.eps, draw @ linear.weight, dx[tile]))
            for whole, part in zip(sums[lane][:3], found, strict=True):
                whole += part
            if linear.learns:
                sums[lane][3].addmm_(draw.T, how.steps.norm(x[tile], scale, how.eps))
            if bias is not None:
                sums[lane][4].add_(draw.sum(0))

        lanes.each_tile(_tiles(x, how), work)
        dweight, dq_weight, dk_weight, dlinear, dbias, da, db = lanes.total(sums)
        dnorms = (dq_weight, dk_weight) if q_weight is not None else (None, None)
        parts = apart(parameters, how.scales[0], Joined(dlinear, dbias, da, db, linear.learns))
        return dx, None, dweight, *dnorms, *parts


def finish(x: Tensor, mixed: Tensor, layer: LayerParts, how: Settings) -> Tensor:
    """``y + down(active(gate) · up)`` of the normed ``y = x + o(mixed)``, ``[N, d]``; what is added normed where the
    layer has norms for it; differentiable."""
    norms: list[Any] = [layer.after_attention, layer.before_mlp, layer.after_mlp]
    weights = [None if norm is None else norm.weight for norm in norms]
    tensors = [tensor for modules in linears_of(layer)[1:] for tensor in tensors_of(modules)]
    given: tuple[Any, ...] = (x, mixed, how, *weights, *tensors)
    return _Finish.apply(*given) if torch.is_grad_enabled() else _finish(*given)[0]


def _finish(
    x: Tensor, mixed: Tensor, how: Settings, *tensors: Tensor | None, keep: bool = False
) -> tuple[Tensor, list[Tensor | None]]:
    """The result; and what attention adds, ``y`` ``[N, d]``, the rows of gate and up ``[N, 2F]``, and what they add:
    the first and the last where they are normed, the rows where they are kept."""
    norms, linears = [_offset(weight, how) for weight in tensors[:3]], _joined(tensors[3:], how)
    o, both, down = (linear.weight for linear in linears)
    attended, added = (None if norm is None else torch.empty_like(x) for norm in norms[::2])
    rows, middle, result = x.new_empty(len(x), len(both)) if keep else None, torch.empty_like(x), torch.empty_like(x)
    x, mixed, made = x.contiguous(), mixed.contiguous(), [attended, middle, rows, added]

    def work(tile: slice, lane: int) -> None:
        if how.whole:
            here = [None if part is None else part[tile] for part in (*made, result)]
            halves.finish(x[tile], mixed[tile], norms, how.eps, how.gelu, linears, here)
            return
        torch.addmm(x[tile], mixed[tile], o.T, out=middle[tile])
        both_rows = x.new_empty(len(x[tile]), len(both)) if rows is None else rows[tile]
        torch.mm(how.steps.norm(middle[tile], norms[1], how.eps), both.T, out=both_rows)
        torch.addmm(middle[tile], how.steps.gated(both_rows), down.T, out=result[tile])

    lanes.each_tile(_tiles(x, how), work)
    return result, made


class _Finish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mixed: Tensor, how: Settings, *parameters: Any) -> Tensor:
        result, made = _finish(x, mixed, how, *parameters, keep=True)
        ctx.save_for_backward(mixed, *made, *parameters)
        ctx.how = how
        return result

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        mixed, attended, middle, rows, added, *tensors = ctx.saved_tensors
        how: Settings = ctx.how
        norms, linears = [_offset(weight, how) for weight in tensors[:3]], _joined(tensors[3:], how)
        dy, mixed = dy.contiguous(), mixed.contiguous()
        dx, dmixed = torch.empty_like(dy) if how.whole else dy.clone(), torch.empty_like(mixed)
        sums = lanes.zeros(*norms, *(part for one in linears for part in (_learned(one), one.a, one.b)))
        o, both, down = linears

        def work(tile: slice, lane: int) -> None:
            if how.whole:
                kept = [None if part is None else part[tile] for part in (mixed, attended, middle, rows, added)]
                made = dx[tile], dmixed[tile]
                halves.finish_backward(dy[tile], kept, norms, how.eps, how.gelu, linears, made, sums[lane])
                return
            active, drows = how.steps.gated_backward(rows[tile], dy[tile] @ down.weight)
            normed, change = how.steps.norm(middle[tile], norms[1], how.eps), dx[tile]
            sums[lane][1] += how.steps.norm_backward(middle[tile], norms[1], how.eps, drows @ both.weight, change)
            torch.mm(change, o.weight, out=dmixed[tile])
            ends = (o, change, mixed[tile]), (both, drows, normed), (down, dy[tile], active)
            for grown, (linear, back, given) in zip(sums[lane][3::3], ends, strict=True):
                if linear.learns:
                    grown.addmm_(back.T, given)

        lanes.each_tile(_tiles(dy, how), work)
        dafter_attention, dbefore, dafter, *found = lanes.total(sums)
        ends = zip(found[0::3], found[1::3], found[2::3], linears, strict=True)
        parts = [Joined(each, None, a, b, linear.learns) for each, a, b, linear in ends]
        return dx, dmixed, None, dafter_attention, dbefore, dafter, *_apart(tensors[3:], how, parts)


def _joined(tensors: Sequence[Any], how: Settings) -> list[Joined]:
    """o; gate and up; down."""
    return [joined(tensors[at : at + 4 * len(scales)], scales) for at, scales in _places(how)]


def _apart(tensors: Sequence[Any], how: Settings, parts: Sequence[Joined]) -> list[Tensor | None]:
    """The gradients of ``tensors``."""
    found = zip(_places(how), parts, strict=True)
    return [each for (at, scales), part in found for each in apart(tensors[at : at + 4 * len(scales)], scales, part)]


def _places(how: Settings) -> list[tuple[int, tuple[float, ...]]]:
    """Where the tensors of each begin, and its adapters' scales."""
    _, *others = how.scales
    return list(zip((0, 4, 12), others, strict=True))


def _learned(linear: Joined) -> Tensor | None:
    return linear.weight if linear.learns else None


def _tiles(x: Tensor, how: Settings) -> list[slice]:
    """As many for each lane, where there are enough tokens; one for each where a call takes them all."""
    count = max(1, round(len(x) / TILE / lanes.count())) * lanes.count()
    size = -(-len(x) // (min(count, lanes.count()) if how.whole else count)) or 1
    return [slice(start, min(start + size, len(x))) for start in range(0, len(x), size)]


def _turns(how: Settings, tile: slice) -> tuple[Tensor, Tensor, Tensor]:
    cos, sin, positions = how.turns
    return cos, sin, positions[tile]


def _rows(x: Tensor) -> bool:
    """Whether a token's heads lie one after the other."""
    return x.stride()[1:] == (x.shape[2], 1)


def _offset(weight: Tensor | None, how: Settings) -> Tensor | None:
    return None if weight is None else how.offset + weight


def _linear(x: Tensor, matrix: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(x, matrix.T, out=out)
    else:
        torch.addmm(bias, x, matrix.T, out=out)
