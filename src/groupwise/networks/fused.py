"""The two halves of a Llama block as one operation each, tile by tile, so that what lies between stays in cache.

Saved for the backward pass are the inputs and what a matrix product made; everything cheap is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from groupwise.kernels import learn
from groupwise.networks import plain as torch_steps
from groupwise.networks.blueprint import Blueprint, LayerParts
from groupwise.networks.linear import plain, together

TILE = 512  # tokens: what a tile makes between its matrix products stays in a core's cache


class Settings(NamedTuple):
    """What a half block needs beside its parameters."""

    steps: Any  # kernels.learn or networks.plain
    eps: float
    offset: float  # norms multiply by offset + weight
    turns: tuple[Tensor, Tensor, Tensor]  # cos and sin [L, D], positions [N]
    shape: tuple[int, int, int]  # heads, kv heads, head_dim


def fusible(blueprint: Blueprint, layer: LayerParts, like: Tensor) -> bool:
    """Whether the functions of this file compute that layer, on tensors like this one."""
    exact = like.dtype in (torch.float32, torch.float64) and like.device.type == "cpu"
    bare = plain([layer.gate, layer.up, layer.down]) and layer.gate.bias is None and plain([layer.q, layer.k, layer.v])
    return exact and bare and blueprint.activation == "silu" and layer.after_attention is layer.after_mlp is None


def settings(blueprint: Blueprint, layer: LayerParts, like: Tensor, turns: tuple[Tensor, Tensor, Tensor]) -> Settings:
    widths = blueprint.width, blueprint.head_dim, layer.gate.out_features  # type: ignore[attr-defined]
    fast = learn.fits(like, widths) and blueprint.head_dim <= learn.LARGEST_HEAD  # type: ignore[arg-type]
    shape = blueprint.heads, blueprint.kv_heads, blueprint.head_dim
    return Settings(learn if fast else torch_steps, blueprint.eps, blueprint.norm_offset, turns, shape)


def project(x: Tensor, layer: LayerParts, how: Settings) -> tuple[Tensor, ...]:
    """``[N, heads, head_dim]`` turned queries, turned keys and values of ``x`` ``[N, d]``; differentiable."""
    norms = [None if norm is None else norm.weight for norm in (layer.q_norm, layer.k_norm)]
    linears = [layer.q, layer.k, layer.v]
    parameters = [*(module.weight for module in linears), *(module.bias for module in linears)]
    given: tuple[Any, ...] = (x, how, layer.before_attention.weight, *norms, *parameters)
    if torch.is_grad_enabled():
        return _Project.apply(*given)
    made = _project(*given)[1]
    return torch_steps.split_heads(made, how.shape)


def _project(
    x: Tensor, how: Settings, weight: Tensor, q_weight: Any, k_weight: Any, *parameters: Any
) -> tuple[Tensor, Tensor]:
    """Rows of q, k and v as the matrix product leaves them, and as attention takes them."""
    matrix, bias = _matrix(parameters[:3]), _matrix(parameters[3:])
    raw, made = (x.new_empty(len(x), len(matrix)) for _ in range(2))
    for tile in _tiles(x):
        _linear(how.steps.norm(x[tile], how.offset + weight, how.eps), matrix, bias, raw[tile])
        weights = _offset(q_weight, how), _offset(k_weight, how)
        made[tile] = how.steps.heads(raw[tile], weights, _turns(how, tile), how.shape, how.eps)
    return raw, made


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, how: Settings, *parameters: Any) -> tuple[Tensor, ...]:
        raw, made = _project(x, how, *parameters)
        normed = parameters[1] is not None
        ctx.save_for_backward(x, raw if normed else None, *parameters)
        ctx.how = how
        return torch_steps.split_heads(made, how.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, raw, weight, q_weight, k_weight, *parameters = ctx.saved_tensors
        how: Settings = ctx.how
        matrix, scale = _matrix(parameters[:3]), how.offset + weight
        weights = _offset(q_weight, how), _offset(k_weight, how)
        dx, dmatrix, dbias = torch.zeros_like(x), torch.zeros_like(matrix), matrix.new_zeros(len(matrix))
        sums = [torch.zeros_like(weight), *(weight.new_zeros(how.shape[2]) for _ in range(2))]
        for tile in _tiles(x):
            rows = None if raw is None else raw[tile]
            parts = [gradient[tile] for gradient in gradients]
            draw, *found = how.steps.heads_backward(rows, weights, _turns(how, tile), how.shape, how.eps, parts)
            dmatrix.addmm_(draw.T, how.steps.norm(x[tile], scale, how.eps))
            if parameters[3] is not None:
                dbias += draw.sum(0)
            found.insert(0, how.steps.norm_backward(x[tile], scale, how.eps, draw @ matrix, dx[tile]))
            for total, part in zip(sums, found, strict=True):
                total += part
        sizes = [len(part) for part in parameters[:3]]
        dbiases = dbias.split(sizes) if parameters[3] is not None else (None,) * 3
        dnorms = sums[1:] if q_weight is not None else (None, None)
        return dx, None, sums[0], *dnorms, *dmatrix.split(sizes), *dbiases


def feed_forward(x: Tensor, layer: LayerParts, how: Settings) -> Tensor:
    """``x + down(silu(gate) · up)`` of the normed ``x`` ``[N, d]``; differentiable."""
    given: tuple[Any, ...] = (x, how, layer.before_mlp.weight, layer.gate.weight, layer.up.weight, layer.down.weight)
    return _FeedForward.apply(*given) if torch.is_grad_enabled() else _feed_forward(None, *given)


def _feed_forward(
    kept: Tensor | None, x: Tensor, how: Settings, weight: Tensor, gate: Tensor, up: Tensor, down: Tensor
) -> Tensor:
    """``kept`` ``[N, 2F]`` takes the rows of gate and up."""
    matrix, y = _matrix((gate, up)), torch.empty_like(x)
    for tile in _tiles(x):
        rows = kept[tile] if kept is not None else x.new_empty(len(x[tile]), len(matrix))
        torch.mm(how.steps.norm(x[tile], how.offset + weight, how.eps), matrix.T, out=rows)
        torch.addmm(x[tile], how.steps.gated(rows), down.T, out=y[tile])
    return y


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, how: Settings, weight: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        kept = x.new_empty(len(x), len(gate) + len(up))
        ctx.save_for_backward(x, kept, weight, gate, up, down)
        ctx.how = how
        return _feed_forward(kept, x, how, weight, gate, up, down)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, kept, weight, gate, up, down = ctx.saved_tensors
        how: Settings = ctx.how
        matrix, scale = _matrix((gate, up)), how.offset + weight
        dx, dmatrix, ddown, dweight = (
            dy.clone(),
            torch.zeros_like(matrix),
            torch.zeros_like(down),
            torch.zeros_like(weight),
        )
        for tile in _tiles(x):
            y, drows = how.steps.gated_backward(kept[tile], dy[tile] @ down)
            ddown.addmm_(dy[tile].T, y)
            dmatrix.addmm_(drows.T, how.steps.norm(x[tile], scale, how.eps))
            dweight += how.steps.norm_backward(x[tile], scale, how.eps, drows @ matrix, dx[tile])
        return dx, None, dweight, *dmatrix.split([len(gate), len(up)]), ddown


def _tiles(x: Tensor) -> Iterator[slice]:
    count = max(1, round(len(x) / TILE))
    size = -(-len(x) // count) if len(x) else 1
    return (slice(start, min(start + size, len(x))) for start in range(0, len(x), size))


def _turns(how: Settings, tile: slice) -> tuple[Tensor, Tensor, Tensor]:
    cos, sin, positions = how.turns
    return cos, sin, positions[tile]


def _matrix(parts: Sequence[Tensor | None]) -> Any:
    return None if parts[0] is None else together([part for part in parts if part is not None])


def _offset(weight: Tensor | None, how: Settings) -> Tensor | None:
    return None if weight is None else how.offset + weight


def _linear(x: Tensor, matrix: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(x, matrix.T, out=out)
    else:
        torch.addmm(bias, x, matrix.T, out=out)


def add_linear(x: Tensor, module: nn.Module, y: Tensor) -> Tensor:
    """``x + module(y)``."""
    if plain([module]) and module.bias is None:
        return torch.addmm(x, y, module.weight.T)  # type: ignore[arg-type, union-attr]
    return x + module(y)
