"""This module computes log-probabilities of given tokens without the table of all: tile by tile, forward and
backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from groupwise.kernels import half_blocks, learn
from groupwise.kernels.tile_threads import TileThreads
from groupwise.networks import torch_ops

TILE_TOKENS = 512
TILE_ELEMENTS = 2**26
"""Of [tokens, vocabulary] logits that exist at once, unless all of them are kept."""
SUMS_ELEMENTS = 2**24
"""Of the vocabulary matrix's gradient where it is summed in two strands; where they would be more, there is one."""
KEPT_ELEMENTS = 2**23
"""Up to so many logits are kept for the backward pass; more are computed again."""


def token_logprobs(
    hidden: Tensor, matrix: Tensor, targets: Tensor, temperature: float, pool: TileThreads | None = None
) -> tuple[Tensor, Tensor]:
    """Returns ``[N]`` log-probabilities of ``targets`` ``[N]`` and entropies (without gradient) of ``softmax(h Wᵀ /
    T)``, at least float32, of ``hidden`` ``[N, d]`` and ``matrix`` ``[V, d]``. ``pool``: whose threads compute; else
    one."""
    given = hidden, matrix, targets.contiguous(), 1 / temperature, pool or TileThreads(1)
    if torch.is_grad_enabled():
        return _TokenLogprobs.apply(*given)
    logprobs, entropies, _ = _forward(*given, None)
    return logprobs, entropies


class _TokenLogprobs(torch.autograd.Function):
    """This function has a backward pass of its own, which computes the logits once more where they were too many to
    keep."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, matrix: Tensor, targets: Tensor, scale: float, pool: TileThreads
    ) -> tuple[Tensor, Tensor]:
        keep = len(hidden) * len(matrix) <= KEPT_ELEMENTS
        on_cpu = hidden.device.type == "cpu"  # there logits are float32 at least, and kept as they are
        dtype = torch.promote_types(hidden.dtype, torch.float32) if on_cpu else hidden.dtype
        ctx.kept = hidden.new_empty(len(hidden), len(matrix), dtype=dtype) if keep else None
        ctx.scale, ctx.pool = scale, pool
        found = _forward(hidden, matrix, targets, scale, pool, ctx.kept)
        ctx.save_for_backward(hidden, matrix, targets, found)
        logprobs, entropies, _ = found
        ctx.mark_non_differentiable(entropies)
        return logprobs.clone(), entropies

    @staticmethod
    def backward(ctx: Any, by: Tensor, _: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, matrix, targets, found = ctx.saved_tensors
        learns, backward = ctx.needs_input_grad[1], _kernel_backward if compiled(hidden, matrix) else _backward
        by = by.to(found.dtype).contiguous()
        dhidden, dmatrix = backward(hidden, matrix, targets, found, by, ctx.scale, ctx.kept, learns, ctx.pool)
        return dhidden, dmatrix, None, None, None


def compiled(hidden: Tensor, matrix: Tensor) -> bool:
    """Says whether one call does it all, its tiles shared by the threads."""
    if hidden.dtype == matrix.dtype == torch.bfloat16 and hidden.device.type == matrix.device.type == "cpu":
        return half_blocks.multiplies_half()
    return learn.fits(hidden) and learn.fits(matrix) and half_blocks.multiply()


def _forward(
    hidden: Tensor, matrix: Tensor, targets: Tensor, scale: float, pool: TileThreads, kept: Tensor | None
) -> Tensor:
    """Returns ``[3, N]`` log-probabilities, entropies and logarithms of the normalisers; the logits in ``kept``."""
    if compiled(hidden, matrix):
        size = tile_size(len(hidden), len(matrix), _strands(matrix))
        return learn.head(hidden.contiguous().float(), matrix.contiguous(), targets, scale, size, kept, pool)
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    found = torch.empty(3, len(hidden), dtype=dtype, device=hidden.device)
    with torch.no_grad(), pool.inside(tiled=False):
        for tile in _tiles(len(hidden), len(matrix)):
            logits = _logits(hidden[tile], matrix)
            parts = _steps(logits).token_logprobs(logits, targets[tile], scale, pool)
            for number, part in enumerate(parts):
                found[number, tile] = part
            if kept is not None:
                kept[tile] = logits
    return found


def _kernel_backward(
    hidden: Tensor,
    matrix: Tensor,
    targets: Tensor,
    found: Tensor,
    by: Tensor,
    scale: float,
    kept: Tensor | None,
    learns: bool,
    pool: TileThreads,
) -> tuple[Tensor, Tensor | None]:
    """The gradients of ``hidden``, and of ``matrix`` where it learns; what is ``kept`` is used up."""
    strands = _strands(matrix)
    given = (
        hidden.contiguous().float(),
        matrix.contiguous(),
        targets,
        scale,
        tile_size(len(hidden), len(matrix), strands),
    )
    return learn.head_backward(*given, strands, kept, found, by, learns, pool)


def _backward(
    hidden: Tensor,
    matrix: Tensor,
    targets: Tensor,
    found: Tensor,
    by: Tensor,
    scale: float,
    kept: Tensor | None,
    learns: bool,
    pool: TileThreads,
) -> tuple[Tensor, Tensor | None]:
    """The same in torch, with threads within its products."""
    normalisers, dhidden = found[2], torch.empty_like(hidden)
    dmatrix = torch.zeros_like(matrix, dtype=found.dtype) if learns else None
    with pool.inside(tiled=False):
        for tile in _tiles(len(hidden), len(matrix)):
            logits = _logits(hidden[tile], matrix) if kept is None else kept[tile]
            back = (
                _steps(logits)
                .token_logprobs_backward(logits, targets[tile], scale, normalisers[tile], by[tile], pool)
                .to(matrix.dtype)
            )
            torch.mm(back, matrix, out=dhidden[tile])
            if dmatrix is not None and back.dtype == dmatrix.dtype:
                dmatrix.addmm_(back.T, hidden[tile])
            elif dmatrix is not None:
                dmatrix.add_(back.T @ hidden[tile])
    return dhidden, None if dmatrix is None else dmatrix.to(matrix.dtype)


def _logits(hidden: Tensor, matrix: Tensor) -> Tensor:
    """Multiplies states and matrix. In bfloat16 on a CPU their product is made in float32: rounded, a logit of 20 would
    be off by 0.06, and so would be its log-probability from the one that was sampled by."""
    if hidden.dtype == torch.bfloat16 and hidden.device.type == "cpu":
        return hidden.float() @ matrix.float().T
    return hidden @ matrix.T


def _steps(logits: Tensor) -> Any:
    return learn if learn.fits(logits) else torch_ops


def _strands(matrix: Tensor) -> int:
    return 2 if 2 * matrix.numel() <= SUMS_ELEMENTS else 1


def tile_size(rows: int, vocabulary: int, strands: int) -> int:
    """Returns how many rows a tile has: as many tiles in each strand, whatever the number of lanes."""
    most = max(1, min(TILE_TOKENS, TILE_ELEMENTS // (vocabulary * strands)))
    rounds = -(-rows // (most * strands))
    return -(-rows // max(1, rounds * strands)) or 1


def _tiles(rows: int, vocabulary: int) -> list[slice]:
    size = tile_size(rows, vocabulary, strands=1)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
