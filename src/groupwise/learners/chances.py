"""Log-probabilities of given tokens without the table of all: tile by tile, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels import learn
from groupwise.networks import plain

TILE_TOKENS = 512
TILE_ELEMENTS = 2**26
"""Of [tokens, vocabulary] logits that exist at once, unless all of them are kept."""
KEPT_ELEMENTS = 2**23
"""Up to so many logits are kept for the backward pass; more are computed again."""


def token_chances(hidden: Tensor, matrix: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """``[N]`` log-probabilities of ``targets`` ``[N]`` and entropies (without gradient) of ``softmax(h Wᵀ / T)``, at
    least float32, of ``hidden`` ``[N, d]`` and ``matrix`` ``[V, d]``."""
    if torch.is_grad_enabled():
        return _Chances.apply(hidden, matrix, targets, 1 / temperature)
    return _forward(hidden, matrix, targets, 1 / temperature, None)[:2]


def _forward(
    hidden: Tensor, matrix: Tensor, targets: Tensor, scale: float, kept: list[Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities, entropies and logarithms of the normalisers."""
    steps = _steps(hidden)
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    found = torch.empty(3, len(hidden), dtype=dtype, device=hidden.device)
    for tile in _tiles(hidden, matrix):
        logits = hidden[tile] @ matrix.T
        for row, part in zip(found, steps.chances(logits, targets[tile], scale), strict=True):
            row[tile] = part
        if kept is not None:
            kept.append(logits)
    return found[0], found[1], found[2]


class _Chances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, matrix: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        kept: list[Tensor] | None = [] if len(hidden) * len(matrix) <= KEPT_ELEMENTS else None
        logprobs, entropies, normalisers = _forward(hidden, matrix, targets, scale, kept)
        ctx.save_for_backward(hidden, matrix, targets, normalisers)
        ctx.scale, ctx.kept = scale, kept
        ctx.mark_non_differentiable(entropies)
        return logprobs.clone(), entropies

    @staticmethod
    def backward(ctx: Any, by: Tensor, _: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, matrix, targets, normalisers = ctx.saved_tensors
        steps, dtype = _steps(hidden), normalisers.dtype
        dhidden = torch.empty_like(hidden)
        dmatrix = torch.zeros_like(matrix, dtype=dtype) if ctx.needs_input_grad[1] else None
        kept, ctx.kept = ctx.kept, None  # the gradient takes their place
        for number, tile in enumerate(_tiles(hidden, matrix)):
            logits = kept[number] if kept else hidden[tile] @ matrix.T
            back = steps.chances_backward(logits, targets[tile], ctx.scale, normalisers[tile], by[tile])
            torch.mm(back, matrix, out=dhidden[tile])
            if dmatrix is not None and dmatrix.dtype == back.dtype:
                dmatrix.addmm_(back.T, hidden[tile])
            elif dmatrix is not None:
                dmatrix += back.T @ hidden[tile]
        return dhidden, None if dmatrix is None else dmatrix.to(matrix.dtype), None, None


def _steps(hidden: Tensor) -> Any:
    return learn if learn.fits(hidden) else plain


def _tiles(hidden: Tensor, matrix: Tensor) -> Iterator[slice]:
    size = max(1, min(TILE_TOKENS, TILE_ELEMENTS // len(matrix)))
    return (slice(start, min(start + size, len(hidden))) for start in range(0, len(hidden), size))
