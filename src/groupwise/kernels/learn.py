"""The learner's kernels (``learn.cpp``) on tensors: float32 on the CPU, widths in whole vectors.

``networks/plain.py`` has the same functions in torch, for everything else.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels import lanes
from groupwise.kernels.build import library

BLOCK = 64
"""Rows of one unit of work in ``learn.cpp``: gradients of norm weights come back as a sum for each."""
VECTOR = 16
LARGEST_HEAD = 1024


def why_not() -> str:
    """Why there are no kernels on this machine; empty where there are."""
    found = library("learn")
    return found if isinstance(found, str) else ""


def fits(like: Tensor, widths: Sequence[int] = ()) -> bool:
    """Whether the kernels take tensors like this one, and rows and heads of these widths."""
    whole = all(width % VECTOR == 0 for width in widths)
    return like.dtype == torch.float32 and like.device.type == "cpu" and whole and not why_not()


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``x / rms(x) · weight`` of each row of ``[n, d]``."""
    y = torch.empty_like(x)
    call("norm_forward", x, weight, ctypes.c_float(eps), *x.shape, y)
    return y


def norm_backward(x: Tensor, weight: Tensor, eps: float, dy: Tensor, dx: Tensor) -> Tensor:
    """Adds to ``dx``; returns the weight's gradient."""
    parts = dx.new_zeros(_blocks(x), x.shape[1])
    call("norm_backward", x, weight, ctypes.c_float(eps), *x.shape, dy, dx, parts)
    return parts.sum(0)


def heads(x: Tensor, weights: tuple[Tensor | None, Tensor | None], turns: Any, shape: Any, eps: float) -> Tensor:
    """Of rows q, k, v side by side: q and k normed head by head where they have weights, and turned; v as it is."""
    y = torch.empty_like(x)
    call("heads_forward", x, *weights, ctypes.c_float(eps), *turns, len(x), *shape, y)
    return y


def heads_backward(
    x: Tensor | None,
    weights: tuple[Tensor | None, Tensor | None],
    turns: Any,
    shape: Any,
    eps: float,
    gradients: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Of ``x`` (None where nothing is normed), and of q's and k's norm weights.

    ``gradients``: of q, k and v, ``[n, heads, head_dim]``.
    """
    gradients = [gradient if _rows(gradient) else gradient.contiguous() for gradient in gradients]
    dx = gradients[0].new_empty(len(gradients[0]), (shape[0] + 2 * shape[1]) * shape[2])
    parts = dx.new_zeros(2, _blocks(dx), shape[2])
    strided = [part for gradient in gradients for part in (gradient, ctypes.c_int64(gradient.stride(0)))]
    place = ctypes.c_float(eps), *turns, len(dx), *shape, *strided, dx, parts[0], parts[1]
    call("heads_backward", x, *weights, *place)
    dq, dk = parts.sum(1)
    return dx, dq, dk


def gated(x: Tensor) -> Tensor:
    """``silu(gate) · up`` of rows gate, up side by side."""
    y = x.new_empty(len(x), x.shape[1] // 2)
    call("gated_forward", x, *y.shape, y)
    return y


def gated_backward(x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """``gated(x)`` again, and the gradient of ``x``."""
    y, dx = torch.empty_like(dy), torch.empty_like(x)
    call("gated_backward", x, dy, *dy.shape, y, dx)
    return y, dx


def chances(logits: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """``[n]`` log-probability of each target under ``softmax(scale · logits)``, entropy, log of the normaliser."""
    found = logits.new_empty(3, len(logits))
    call("chance_forward", logits, targets, ctypes.c_float(scale), *logits.shape, *found)
    return found[0], found[1], found[2]


def chances_backward(logits: Tensor, targets: Tensor, scale: float, normalisers: Tensor, by: Tensor) -> Tensor:
    """The gradient of ``Σ by · log-probability`` in the logits' place."""
    call("chance_backward", logits, targets, ctypes.c_float(scale), normalisers, by, *logits.shape)
    return logits


def attention(q: Tensor, k: Tensor, v: Tensor, plan: Any, scale: float) -> tuple[Tensor, Tensor]:
    """``[N, H, D]`` what each query finds, ``[N, H]`` its normaliser's logarithm; ``plan``: a ``networks.Packing``."""
    out, normalisers = torch.empty(q.shape), torch.empty(q.shape[:2])
    strided = [part for x in (q, k, v) for part in (x, ctypes.c_int64(x.stride(0)))]
    shape = plan.families, plan.longest, q.shape[1], k.shape[1], q.shape[2], ctypes.c_float(scale)
    place = out, ctypes.c_int64(out.stride(0)), normalisers
    call("attention_forward", *strided, plan.prompts, plan.completions, *shape, *place, threads=_threads())
    return out, normalisers


def attention_backward(
    q: Tensor, k: Tensor, v: Tensor, plan: Any, scale: float, out: Tensor, normalisers: Tensor, dout: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of q, k and v."""
    gradients = torch.empty(len(q), q.shape[1] + 2 * k.shape[1], q.shape[2])
    dq, dk, dv = gradients.split([q.shape[1], k.shape[1], k.shape[1]], dim=1)
    dout = dout.contiguous()
    strided, found, back = (
        [part for x in some for part in (x, ctypes.c_int64(x.stride(0)))] for some in ((q, k, v), (out,), (dq, dk, dv))
    )
    shape = plan.families, plan.longest, q.shape[1], k.shape[1], q.shape[2], ctypes.c_float(scale)
    given = *found, normalisers, dout, ctypes.c_int64(dout.stride(0))
    call("attention_backward", *strided, plan.prompts, plan.completions, *shape, *given, *back, threads=_threads())
    return dq, dk, dv


def _threads() -> int:
    """Of what is no tile of something larger."""
    return max(lanes.count(), torch.get_num_threads())


def _rows(x: Tensor) -> bool:
    return x.stride()[1:] == (x.shape[2], 1)


def _blocks(x: Tensor) -> int:
    return -(-len(x) // BLOCK)


def call(name: str, *arguments: Any, threads: int = 0) -> None:
    found = library("learn")
    assert not isinstance(found, str), found
    given = [ctypes.c_void_p(x.data_ptr()) if isinstance(x, Tensor) else x for x in arguments]
    getattr(found, name)(*given, threads or torch.get_num_threads())
