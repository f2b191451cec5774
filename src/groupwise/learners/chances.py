"""Log-probabilities of given tokens without the table of all: tile by tile, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels import lanes, learn
from groupwise.networks import plain

TILE_TOKENS = 512
TILE_ELEMENTS = 2**26
"""Of [tokens, vocabulary] logits that exist at once, unless all of them are kept."""
SUMS_ELEMENTS = 2**24
"""Of the vocabulary matrix's gradient in all lanes together; where that would be more, tiles come one after the other,
with threads within their products."""
KEPT_ELEMENTS = 2**23
"""Up to so many logits are kept for the backward pass; more are computed again."""


def token_chances(hidden: Tensor, matrix: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """``[N]`` log-probabilities of ``targets`` ``[N]`` and entropies (without gradient) of ``softmax(h Wᵀ / T)``, at
    least float32, of ``hidden`` ``[N, d]`` and ``matrix`` ``[V, d]``."""
    if torch.is_grad_enabled():
        return _Chances.apply(hidden, matrix, targets, 1 / temperature)
    return _forward(hidden, matrix, targets, 1 / temperature, _tiles(hidden, matrix))[:2]


def _forward(
    hidden: Tensor,
    matrix: Tensor,
    targets: Tensor,
    scale: float,
    tiles: Sequence[slice],
    kept: dict[int, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, entropies and logarithms of the normalisers; in ``kept`` the logits, by a tile's start."""
    steps = _steps(hidden)
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    found = torch.empty(3, len(hidden), dtype=dtype, device=hidden.device)

    def work(tile: slice, lane: int) -> None:
        logits = hidden[tile] @ matrix.T
        for row, part in zip(found, steps.chances(logits, targets[tile], scale), strict=True):
            row[tile] = part
        if kept is not None:
            kept[tile.start] = logits

    lanes.each_tile(tiles, work)
    return found[0], found[1], found[2]


class _Chances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, matrix: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        kept: dict[int, Tensor] | None = {} if len(hidden) * len(matrix) <= KEPT_ELEMENTS else None
        ctx.scale, ctx.tiles, ctx.kept = scale, _tiles(hidden, matrix), kept
        logprobs, entropies, normalisers = _forward(hidden, matrix, targets, scale, ctx.tiles, kept)
        ctx.save_for_backward(hidden, matrix, targets, normalisers)
        ctx.mark_non_differentiable(entropies)
        return logprobs.clone(), entropies

    @staticmethod
    def backward(ctx: Any, by: Tensor, _: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, matrix, targets, normalisers = ctx.saved_tensors
        learns, threads = ctx.needs_input_grad[1], lanes.count()
        large = learns and threads > 1 and matrix.numel() * threads > SUMS_ELEMENTS
        with lanes.open_lanes(threads, tiled=False) if large else nullcontext():
            given, tiles = (hidden, matrix, targets, normalisers, by), ctx.tiles if ctx.kept else _tiles(hidden, matrix)
            return *_backward(*given, ctx.scale, tiles, ctx.kept or {}, learns), None, None


def _backward(
    hidden: Tensor,
    matrix: Tensor,
    targets: Tensor,
    normalisers: Tensor,
    by: Tensor,
    scale: float,
    tiles: Sequence[slice],
    kept: dict[int, Tensor],
    learns: bool,
) -> tuple[Tensor, Tensor | None]:
    """The gradient of ``hidden``, and of ``matrix`` where it learns; takes the place of what is ``kept``."""
    steps, dtype, dhidden = _steps(hidden), normalisers.dtype, torch.empty_like(hidden)
    sums = lanes.zeros(matrix.detach().to(dtype) if learns else matrix[:0])

    def work(tile: slice, lane: int) -> None:
        logits = kept.pop(tile.start) if kept else hidden[tile] @ matrix.T
        back = steps.chances_backward(logits, targets[tile], scale, normalisers[tile], by[tile])
        torch.mm(back, matrix, out=dhidden[tile])
        if learns and back.dtype == dtype:
            sums[lane][0].addmm_(back.T, hidden[tile])
        elif learns:
            sums[lane][0].add_(back.T @ hidden[tile])

    lanes.each_tile(tiles, work)
    return dhidden, lanes.total(sums)[0].to(matrix.dtype) if learns else None


def _steps(hidden: Tensor) -> Any:
    return learn if learn.fits(hidden) else plain


def _tiles(hidden: Tensor, matrix: Tensor) -> list[slice]:
    """As many for each lane."""
    most = max(1, min(TILE_TOKENS, TILE_ELEMENTS // (len(matrix) * lanes.count())))
    rounds = -(-len(hidden) // (most * lanes.count()))
    size = -(-len(hidden) // max(1, rounds * lanes.count())) or 1
    return [slice(start, min(start + size, len(hidden))) for start in range(0, len(hidden), size)]
