"""The learner's kernels (``learn.cpp``) on tensors: float32 on the CPU, widths in whole vectors.

``networks/plain.py`` has the same functions in torch, for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels import calls
from groupwise.kernels.calls import (
    AttentionCall,
    AttentionGradients,
    Numbers,
    RopeArguments,
    Spans,
    TokenLogprobsCall,
    View,
    call,
)
from groupwise.kernels.tile_threads import TileThreads

BLOCK = 64
"""Rows of one unit of work in ``learn.cpp``: gradients of norm weights come back as a sum for each."""
VECTOR = 16
LARGEST_HEAD = 1024


def why_not() -> str:
    """Says why there are no kernels on this machine; empty where there are."""
    found = calls.learner()
    return found if isinstance(found, str) else ""


def fits(like: Tensor, widths: Sequence[int] = ()) -> bool:
    """Says whether the kernels take tensors like this one, and rows and heads of these widths."""
    whole = all(width % VECTOR == 0 for width in widths)
    return like.dtype == torch.float32 and like.device.type == "cpu" and whole and not why_not()


def norm(x: Tensor, weight: Tensor, eps: float, pool: TileThreads) -> Tensor:
    """Computes ``x / rms(x) · weight`` of each row of ``[n, d]``."""
    y = torch.empty_like(x)
    call("norm_forward", x, weight, eps, y, pool.handle)
    return y


def norm_backward(x: Tensor, weight: Tensor, eps: float, dy: Tensor, dx: Tensor, pool: TileThreads) -> Tensor:
    """Adds to ``dx``; returns the weight's gradient."""
    parts = dx.new_zeros(_blocks(x), x.shape[1])
    call("norm_backward", x, weight, eps, dy, dx, parts, pool.handle)
    return parts.sum(0)


def heads(x: Tensor, weights: Sequence[Tensor | None], rope: Any, shape: Any, eps: float, pool: TileThreads) -> Tensor:
    """Norms and turns the heads of rows q, k, v side by side: q and k normed head by head where they have weights, and
    turned; v as it is."""
    y = torch.empty_like(x)
    call("heads_forward", x, byref(rope_arguments(rope, weights, shape, eps)), y, pool.handle)
    return y


def heads_backward(
    x: Tensor | None,
    weights: Sequence[Tensor | None],
    rope: Any,
    shape: Any,
    eps: float,
    gradients: Sequence[Tensor],
    pool: TileThreads,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of ``x`` (None where nothing is normed), and of q's and k's norm weights.

    ``gradients``: of q, k and v, ``[n, heads, head_dim]``.
    """
    gradients = [side_by_side(gradient) for gradient in gradients]
    dx = gradients[0].new_empty(len(gradients[0]), (shape[0] + 2 * shape[1]) * shape[2])
    parts = dx.new_zeros(2, _blocks(dx), shape[2])
    given = x, byref(rope_arguments(rope, weights, shape, eps)), *gradients, dx, parts[0], parts[1]
    call("heads_backward", *given, pool.handle)
    dq, dk = parts.sum(1)
    return dx, dq, dk


def rope_arguments(rope: Any, weights: Sequence[Tensor | None], shape: Any, eps: float) -> RopeArguments:
    """Returns what the kernels are told of a rope. ``rope``: cos and sin ``[L, D]``, positions ``[n]``; ``shape``:
    heads, kv heads, head_dim."""
    cos, sin, positions = rope
    return RopeArguments(View.of(cos), View.of(sin), Numbers.of(positions), *map(View.of, weights), *shape, eps)


def swiglu(x: Tensor, pool: TileThreads) -> Tensor:
    """Computes ``silu(gate) · up`` of rows gate, up side by side."""
    y = x.new_empty(len(x), x.shape[1] // 2)
    call("swiglu_forward", x, y, pool.handle)
    return y


def swiglu_backward(x: Tensor, dy: Tensor, pool: TileThreads) -> tuple[Tensor, Tensor]:
    """Returns ``swiglu(x)`` again, and the gradient of ``x``."""
    y, dx = torch.empty_like(dy), torch.empty_like(x)
    call("swiglu_backward", x, dy, y, dx, pool.handle)
    return y, dx


def token_logprobs(logits: Tensor, targets: Tensor, scale: float, pool: TileThreads) -> Tensor:
    """Computes ``[3, n]``: log-probability of each target under ``softmax(scale · logits)``, entropy, log of the
    normaliser."""
    found = logits.new_empty(3, len(logits))
    call("token_logprob_forward", logits, targets, scale, found, pool.handle)
    return found


def token_logprobs_backward(
    logits: Tensor, targets: Tensor, scale: float, normalisers: Tensor, by: Tensor, pool: TileThreads
) -> Tensor:
    """The gradient of ``Σ by · log-probability`` in the logits' place."""
    call("token_logprob_backward", logits, targets, scale, normalisers, by, pool.handle)
    return logits


def head(
    hidden: Tensor, matrix: Tensor, targets: Tensor, scale: float, tile: int, kept: Tensor | None, pool: TileThreads
) -> Tensor:
    """Returns ``token_logprobs`` of the logits ``hidden matrixᵀ``, which are not made all at once; ``kept`` ``[n, V]``
    takes them where they are wanted. Rows go ``tile`` by ``tile``. It needs ``half_blocks.multiply``."""
    found = hidden.new_empty(3, len(hidden))
    call("token_logprobs", byref(_head(hidden, matrix, targets, scale, tile, 1, kept, found)), pool.handle)
    return found


def head_backward(
    hidden: Tensor,
    matrix: Tensor,
    targets: Tensor,
    scale: float,
    tile: int,
    strands: int,
    kept: Tensor | None,
    found: Tensor,
    by: Tensor,
    learns: bool,
    pool: TileThreads,
) -> tuple[Tensor, Tensor | None]:
    """Returns the gradients of ``hidden``, and of ``matrix`` where it ``learns``: summed in so many ``strands``. Uses
    up what is ``kept``."""
    dhidden, dmatrix = torch.empty_like(hidden), torch.zeros(matrix.shape) if learns else None
    given = _head(hidden, matrix, targets, scale, tile, strands, kept, found)
    call("token_logprobs_backward", byref(given), by, dhidden, dmatrix, pool.handle)
    return dhidden, dmatrix


def _head(
    hidden: Tensor,
    matrix: Tensor,
    targets: Tensor,
    scale: float,
    tile: int,
    strands: int,
    kept: Tensor | None,
    found: Tensor,
) -> TokenLogprobsCall:
    ends = View.of(hidden), View.of_weight(matrix), calls.is_half(matrix), Numbers.of(targets)
    return TokenLogprobsCall(*ends, scale, tile, strands, View.of(kept), View.of(found))


def attention(q: Tensor, k: Tensor, v: Tensor, plan: Any, scale: float, pool: TileThreads) -> tuple[Tensor, Tensor]:
    """Returns ``[N, H, D]`` what each query finds, ``[N, H]`` its normaliser's logarithm; ``plan``: a
    ``networks.Packing``."""
    out, normalisers = torch.empty(q.shape), torch.empty(q.shape[:2])
    call("attention_forward", byref(_attention(q, k, v, plan, scale, out, normalisers)), pool.handle)
    return out, normalisers


def attention_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    plan: Any,
    scale: float,
    out: Tensor,
    normalisers: Tensor,
    dout: Tensor,
    pool: TileThreads,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of q, k and v."""
    gradients = torch.empty(len(q), q.shape[1] + 2 * k.shape[1], q.shape[2])
    dq, dk, dv = gradients.split([q.shape[1], k.shape[1], k.shape[1]], dim=1)
    dout = dout.contiguous()
    given = AttentionGradients(*map(View.of, (dout, dq, dk, dv)))
    call(
        "attention_backward", byref(_attention(q, k, v, plan, scale, out, normalisers)), byref(given), pool.handle
    )  # fmt: skip
    return dq, dk, dv


def _attention(
    q: Tensor, k: Tensor, v: Tensor, plan: Any, scale: float, out: Tensor, normalisers: Tensor
) -> AttentionCall:
    spans = Spans.of(plan.prompts, 4), Spans.of(plan.completions, 2)
    shape = q.shape[1], k.shape[1], q.shape[2], plan.longest, scale
    return AttentionCall(*map(View.of, (q, k, v)), *spans, *shape, View.of(out), View.of(normalisers))


def side_by_side(x: Tensor) -> Tensor:
    """Returns ``[n, heads, head_dim]`` with a row's heads one after the other."""
    return x if x.stride()[1:] == (x.shape[2], 1) and (len(x) < 2 or x.stride(0) >= x[0].numel()) else x.contiguous()


def _blocks(x: Tensor) -> int:
    return -(-len(x) // BLOCK)
