"""The two halves of a Llama block as one operation each, tile by tile, so that what lies between stays in cache.

Saved for the backward pass are the inputs and what a matrix product made; everything cheap is computed again, and so
are normed and turned queries and keys for attention's own backward pass (``Again``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groupwise.kernels import halves, lanes, learn
from groupwise.networks import plain as torch_steps
from groupwise.networks.blueprint import Blueprint, LayerParts
from groupwise.networks.linear import plain, together

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
    whole: bool = False  # a lane's rows in one call


def fusible(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Whether the functions of this file compute that layer, on tensors like this one."""
    exact = like.dtype in (torch.float32, torch.float64) and like.device.type == "cpu"
    bare = plain([layer.o, layer.gate, layer.up, layer.down]) and layer.gate.bias is None
    bare = bare and plain([layer.q, layer.k, layer.v])
    return exact and bare and blueprint.activation == "silu" and layer.after_attention is layer.after_mlp is None


def settings(blueprint: Blueprint, layer: LayerParts, like: Tensor, turns: tuple[Tensor, Tensor, Tensor]) -> Settings:
    widths = blueprint.width, blueprint.head_dim, layer.gate.out_features  # type: ignore[attr-defined]
    fast = learn.fits(like, widths) and blueprint.head_dim <= learn.LARGEST_HEAD  # type: ignore[arg-type]
    shape = blueprint.heads, blueprint.kv_heads, blueprint.head_dim
    steps, whole = learn if fast else torch_steps, fast and halves.multiply()
    return Settings(steps, blueprint.eps, blueprint.norm_offset, turns, shape, whole)


def project(x: Tensor, layer: LayerParts, how: Settings) -> tuple[tuple[Tensor, ...], Again | None]:
    """``[N, heads, head_dim]`` turned queries, turned keys and values of ``x`` ``[N, d]``, differentiable; and how to
    have them again, where a gradient will want to."""
    norms = [None if norm is None else norm.weight for norm in (layer.q_norm, layer.k_norm)]
    linears = [layer.q, layer.k, layer.v]
    parameters = [*(module.weight for module in linears), *(module.bias for module in linears)]
    given: tuple[Any, ...] = (x, how, layer.before_attention.weight, *norms, *parameters)
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
    norms, matrix, bias = parameters[:2], _matrix(parameters[2:5]), _matrix(parameters[5:])
    raw, made = (x.new_empty(len(x), len(matrix)) for _ in range(2))
    x, scale, of_heads = x.contiguous(), how.offset + weight, [_offset(norm, how) for norm in norms]

    def work(tile: slice, lane: int) -> None:
        if how.whole:
            rows = raw[tile], made[tile]
            halves.project(x[tile], scale, how.eps, (matrix, bias), of_heads, _turns(how, tile), how.shape, rows)
        else:
            _linear(how.steps.norm(x[tile], scale, how.eps), matrix, bias, raw[tile])
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
        matrix, scale, dx = _matrix(parameters[:3]), how.offset + weight, torch.zeros_like(x)
        weights = _offset(q_weight, how), _offset(k_weight, how)
        of_head, biased = weight.new_empty(how.shape[2]), parameters[3] is not None
        gradients = tuple(part if _rows(part) else part.contiguous() for part in gradients[:3])
        sums = lanes.zeros(weight, of_head, of_head, matrix, matrix[:, 0])

        def work(tile: slice, lane: int) -> None:
            rows = None if raw is None else raw[tile]
            parts = [gradient[tile] for gradient in gradients]
            if how.whole:
                turns, found = _turns(how, tile), (dx[tile], *sums[lane][:4], sums[lane][4] if biased else None)
                halves.project_backward(x[tile], scale, how.eps, matrix, rows, weights, turns, how.shape, parts, found)
                return
            draw, *found = how.steps.heads_backward(rows, weights, _turns(how, tile), how.shape, how.eps, parts)
            found.insert(0, how.steps.norm_backward(x[tile], scale, how.eps, draw @ matrix, dx[tile]))
            for whole, part in zip(sums[lane][:3], found, strict=True):
                whole += part
            sums[lane][3].addmm_(draw.T, how.steps.norm(x[tile], scale, how.eps))
            if biased:
                sums[lane][4].add_(draw.sum(0))

        lanes.each_tile(_tiles(x, how), work)
        dweight, dq_weight, dk_weight, dmatrix, dbias = lanes.total(sums)
        sizes = [len(part) for part in parameters[:3]]
        dbiases = dbias.split(sizes) if biased else (None,) * 3
        dnorms = (dq_weight, dk_weight) if q_weight is not None else (None, None)
        return dx, None, dweight, *dnorms, *dmatrix.split(sizes), *dbiases


def finish(x: Tensor, mixed: Tensor, layer: LayerParts, how: Settings) -> Tensor:
    """``y + down(silu(gate) · up)`` of the normed ``y = x + o(mixed)``, ``[N, d]``; differentiable."""
    linears = [layer.o, layer.gate, layer.up, layer.down]
    given: tuple[Any, ...] = (x, mixed, how, layer.before_mlp.weight, *(module.weight for module in linears))
    return _Finish.apply(*given) if torch.is_grad_enabled() else _finish(*given)[0]


def _finish(
    x: Tensor,
    mixed: Tensor,
    how: Settings,
    weight: Tensor,
    o: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    *,
    keep: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The result, ``y`` ``[N, d]``, and the rows of gate and up ``[N, 2F]``, which are empty unless kept."""
    matrix, middle, result = _matrix((gate, up)), torch.empty_like(x), torch.empty_like(x)
    rows, scale = x.new_empty(len(x) if keep else 0, len(matrix)), how.offset + weight
    x, mixed, weights = x.contiguous(), mixed.contiguous(), _whole(o, matrix, down)

    def work(tile: slice, lane: int) -> None:
        if how.whole:
            made = middle[tile], rows[tile] if keep else None, result[tile]
            halves.finish(x[tile], mixed[tile], scale, how.eps, weights, made)
            return
        torch.addmm(x[tile], mixed[tile], o.T, out=middle[tile])
        here = rows[tile] if keep else x.new_empty(len(x[tile]), len(matrix))
        torch.mm(how.steps.norm(middle[tile], scale, how.eps), matrix.T, out=here)
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
        mixed, middle, rows, weight, o, gate, up, down = ctx.saved_tensors
        how: Settings = ctx.how
        matrix, scale, dy = _matrix((gate, up)), how.offset + weight, dy.contiguous()
        dx, dmixed = torch.empty_like(dy) if how.whole else dy.clone(), torch.empty_like(mixed)
        sums, mixed, weights = lanes.zeros(weight, o, matrix, down), mixed.contiguous(), _whole(o, matrix, down)

        def work(tile: slice, lane: int) -> None:
            if how.whole:
                kept, made = (mixed[tile], middle[tile], rows[tile]), (dx[tile], dmixed[tile])
                halves.finish_backward(dy[tile], kept, scale, how.eps, weights, made, sums[lane])
                return
            dweight, do, dmatrix, ddown = sums[lane]
            active, drows = how.steps.gated_backward(rows[tile], dy[tile] @ down)
            ddown.addmm_(dy[tile].T, active)
            dmatrix.addmm_(drows.T, how.steps.norm(middle[tile], scale, how.eps))
            dweight += how.steps.norm_backward(middle[tile], scale, how.eps, drows @ matrix, dx[tile])
            torch.mm(dx[tile], o, out=dmixed[tile])
            do.addmm_(dx[tile].T, mixed[tile])

        lanes.each_tile(_tiles(dy, how), work)
        dweight, do, dmatrix, ddown = lanes.total(sums)
        return dx, dmixed, None, dweight, do, *dmatrix.split([len(gate), len(up)]), ddown


def _tiles(x: Tensor, how: Settings) -> list[slice]:
    """As many for each lane, where there are enough tokens; one for each where a call takes them all."""
    count = max(1, round(len(x) / TILE / lanes.count())) * lanes.count()
    size = -(-len(x) // (min(count, lanes.count()) if how.whole else count)) or 1
    return [slice(start, min(start + size, len(x))) for start in range(0, len(x), size)]


def _turns(how: Settings, tile: slice) -> tuple[Tensor, Tensor, Tensor]:
    cos, sin, positions = how.turns
    return cos, sin, positions[tile]


def _matrix(parts: Sequence[Tensor | None]) -> Any:
    return None if parts[0] is None else together([part for part in parts if part is not None])


def _whole(*weights: Tensor) -> list[Tensor]:
    return [weight.contiguous() for weight in weights]


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
