"""The two halves of a Llama block as one operation each, tile by tile, so that what lies between stays in cache.

Saved for the backward pass are the inputs and what a matrix product made; everything cheap is computed again, and so
are normed and turned queries and keys for attention's own backward pass (``Again``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from groupwise.kernels import halves, lanes, learn
from groupwise.networks import plain as torch_steps
from groupwise.networks.blueprint import Blueprint, LayerParts
from groupwise.networks.linear import Joined, adapter_of, apart, base_of, joined, known, scales_of, tensors_of

Again = Callable[[], tuple[Tensor, ...]]
"""Queries, keys and values as they were: whoever holds it for a backward pass need not hold them."""

TILE = 512  # tokens: what a tile makes between its matrix products stays in a core's cache


class Settings(NamedTuple):
    """What a half block needs beside its parameters."""

    steps: Any  # kernels.learn or networks.plain
    eps: float
    offset: float  # norms multiply by offset + weight
    turns: tuple[Tensor, Tensor, Tensor]  # cos and sin [L, D], positions [N]
    shape: tuple[int, int, int]  # heads, kv heads, head_dim
    whole: bool  # a lane's rows in one call
    scales: tuple[tuple[float, ...], ...]  # of adapters beside q, k, v; o; gate, up; down


def _linears(layer: LayerParts) -> list[list[nn.Module]]:
    """Those on one input together."""
    return [[layer.q, layer.k, layer.v], [layer.o], [layer.gate, layer.up], [layer.down]]


def fusible(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Whether the functions of this file compute that layer, on tensors like this one."""
    exact = like.dtype in (torch.float32, torch.float64) and like.device.type == "cpu"
    usual = blueprint.activation == "silu" and layer.after_attention is layer.after_mlp is None
    if not exact or not usual or not all(map(known, _linears(layer))):
        return False
    if any(base_of(module).bias is not None for module in (layer.o, layer.gate, layer.up, layer.down)):
        return False
    adapted = any(adapter_of(module) for modules in _linears(layer) for module in modules)
    return not adapted or (_fast(blueprint, layer, like) and halves.multiply())


def settings(blueprint: Blueprint, layer: LayerParts, like: Tensor, turns: tuple[Tensor, Tensor, Tensor]) -> Settings:
    shape, fast = (blueprint.heads, blueprint.kv_heads, blueprint.head_dim), _fast(blueprint, layer, like)
    steps, whole = learn if fast else torch_steps, fast and halves.multiply()
    scales = tuple(map(scales_of, _linears(layer)))
    return Settings(steps, blueprint.eps, blueprint.norm_offset, turns, shape, whole, scales)


def _fast(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Whether the kernels compute it."""
    widths = blueprint.width, blueprint.head_dim, len(base_of(layer.gate).weight)
    return learn.fits(like, widths) and blueprint.head_dim <= learn.LARGEST_HEAD


def project(x: Tensor, layer: LayerParts, how: Settings) -> tuple[tuple[Tensor, ...], Again | None]:
    """``[N, heads, head_dim]`` turned queries, turned keys and values of ``x`` ``[N, d]``, differentiable; and how to
    have them again, where a gradient will want to."""
    norms = [None if norm is None else norm.weight for norm in (layer.q_norm, layer.k_norm)]
    given: tuple[Any, ...] = (x, how, layer.before_attention.weight, *norms, *tensors_of(_linears(layer)[0]))
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
    """``y + down(silu(gate) · up)`` of the normed ``y = x + o(mixed)``, ``[N, d]``; differentiable."""
    tensors = [tensor for modules in _linears(layer)[1:] for tensor in tensors_of(modules)]
    given: tuple[Any, ...] = (x, mixed, how, layer.before_mlp.weight, *tensors)
    return _Finish.apply(*given) if torch.is_grad_enabled() else _finish(*given)[0]


def _finish(
    x: Tensor, mixed: Tensor, how: Settings, weight: Tensor, *tensors: Tensor | None, keep: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The result, ``y`` ``[N, d]``, and the rows of gate and up ``[N, 2F]``, which are empty unless kept."""
    linears, middle, result = _joined(tensors, how), torch.empty_like(x), torch.empty_like(x)
    o, both, down = (linear.weight for linear in linears)
    rows, scale = x.new_empty(len(x) if keep else 0, len(both)), how.offset + weight
    x, mixed = x.contiguous(), mixed.contiguous()

    def work(tile: slice, lane: int) -> None:
        if how.whole:
            made = middle[tile], rows[tile] if keep else None, result[tile]
            halves.finish(x[tile], mixed[tile], scale, how.eps, linears, made)
            return
        torch.addmm(x[tile], mixed[tile], o.T, out=middle[tile])
        here = rows[tile] if keep else x.new_empty(len(x[tile]), len(both))
        torch.mm(how.steps.norm(middle[tile], scale, how.eps), both.T, out=here)
        torch.addmm(middle[tile], how.steps.gated(here), down.T, out=result[tile])

    lanes.each_tile(_tiles(x, how), work)
    return result, middle, rows


class _Finish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mixed: Tensor, how: Settings, *parameters: Any) -> Tensor:
        result, middle, rows = _finish(x, mixed, how, *parameters, keep=True)
        ctx.save_for_backward(mixed, middle, rows, *parameters)
        ctx.how = how
        return result

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        mixed, middle, rows, weight, *tensors = ctx.saved_tensors
        how: Settings = ctx.how
        linears, scale, dy, mixed = _joined(tensors, how), how.offset + weight, dy.contiguous(), mixed.contiguous()
        dx, dmixed = torch.empty_like(dy) if how.whole else dy.clone(), torch.empty_like(mixed)
        sums = lanes.zeros(weight, *(part for one in linears for part in (_learned(one), one.a, one.b)))
        o, both, down = (linear.weight for linear in linears)

        def work(tile: slice, lane: int) -> None:
            if how.whole:
                kept, made = (mixed[tile], middle[tile], rows[tile]), (dx[tile], dmixed[tile])
                halves.finish_backward(dy[tile], kept, scale, how.eps, linears, made, sums[lane])
                return
            dweight, (do, dboth, ddown) = sums[lane][0], sums[lane][1::3]
            active, drows = how.steps.gated_backward(rows[tile], dy[tile] @ down)
            ddown is None or ddown.addmm_(dy[tile].T, active)
            dboth is None or dboth.addmm_(drows.T, how.steps.norm(middle[tile], scale, how.eps))
            dweight += how.steps.norm_backward(middle[tile], scale, how.eps, drows @ both, dx[tile])
            torch.mm(dx[tile], o, out=dmixed[tile])
            do is None or do.addmm_(dx[tile].T, mixed[tile])

        lanes.each_tile(_tiles(dy, how), work)
        dweight, *found = lanes.total(sums)
        ends = zip(found[0::3], found[1::3], found[2::3], linears, strict=True)
        parts = [Joined(each, None, a, b, linear.learns) for each, a, b, linear in ends]
        return dx, dmixed, None, dweight, *_apart(tensors, how, parts)


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
