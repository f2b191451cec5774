"""A half block on many rows as one call (``halves.h``), its matrix products by the BLAS that torch brings along.

The rows are one lane's: within a call there is one thread, and nothing waits for the interpreter.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels.build import library
from groupwise.kernels.learn import call

TILE = 256
"""Rows between two matrix products: what they make stays in a core's cache."""


@functools.cache
def multiply() -> bool:
    """Whether these functions can be called: where torch has MKL, by the name that Fortran gives its product."""
    found = library("learn")
    if isinstance(found, str) or not torch.backends.mkl.is_available():
        return False
    try:
        own = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        found.use_product(ctypes.cast(own.sgemm_, ctypes.c_void_p))
    except (OSError, AttributeError):
        return False
    return True


def project(
    x: Tensor, norm: Tensor, eps: float, linear: Any, heads: Sequence[Any], turns: Any, shape: Any, made: Any
) -> None:
    """``linear``: that of q, k and v, a ``networks.linear.Joined``; ``heads``: norm weights of q and k; ``made``: their
    rows as they are and turned, which are written."""
    matrix, bias, *adapter = _given(linear, bias=True)
    given = x, norm, ctypes.c_float(eps), matrix, bias, *adapter, *heads, *turns
    call("project", *given, *x.shape, *shape, _tile(x), *made, _room(x, x.shape[1] + linear.rank))


def project_backward(
    x: Tensor,
    norm: Tensor,
    eps: float,
    linear: Any,
    raw: Tensor | None,
    heads: Sequence[Any],
    turns: Any,
    shape: Any,
    gradients: Sequence[Tensor],
    found: Sequence[Any],
) -> None:
    """``found``: the gradient of x, which is written; those of norm, q's and k's norm, weight, bias, and an adapter's a
    and b, which grow, or None."""
    strided = [part for gradient in gradients for part in (gradient, ctypes.c_int64(gradient.stride(0)))]
    given = x, norm, ctypes.c_float(eps), *_given(linear, bias=True), raw, *heads, *turns, *x.shape, *shape
    room = _room(x, 2 * (x.shape[1] + linear.rank) + len(linear.weight))
    call("project_backward", *given, *strided, _tile(x), *found, room)


def finish(
    x: Tensor,
    mixed: Tensor,
    norms: Sequence[Tensor | None],
    eps: float,
    gelu: bool,
    linears: Sequence[Any],
    made: Sequence[Tensor | None],
) -> None:
    """``norms``: after attention, before the feed-forward layers and after them; ``linears``: o, gate and up together,
    down; ``made``: what attention adds where that is normed, y, rows of gate and up or None, what they add where that
    is normed, the result: written."""
    widths, rank = _widths(x, linears), max(linear.rank for linear in linears)
    given = *norms, ctypes.c_float(eps), gelu, *(part for linear in linears for part in _given(linear)), *widths
    call("finish", x, mixed, *given, _tile(x), *made, _room(x, x.shape[1] + 3 * widths[-1] + rank))


def finish_backward(
    dy: Tensor,
    kept: Sequence[Tensor | None],
    norms: Sequence[Tensor | None],
    eps: float,
    gelu: bool,
    linears: Sequence[Any],
    made: Sequence[Tensor],
    sums: Sequence[Any],
) -> None:
    """``kept``: mixed, and the first four of what ``finish`` made; ``made``: gradients of x and mixed, which are
    written; ``sums``: of the norms and of each linear's weight, a and b, which grow, or None."""
    widths, rank = _widths(dy, linears), max(linear.rank for linear in linears)
    given = *norms, ctypes.c_float(eps), gelu, *(part for linear in linears for part in _given(linear)), *widths
    room = _room(dy, 3 * dy.shape[1] + 2 * rank + 4 * widths[-1])
    call("finish_backward", dy, *kept, *given, _tile(dy), *made, *sums, room)


def _given(linear: Any, bias: bool = False) -> tuple[Any, ...]:
    return linear.weight, *([linear.bias] if bias else []), linear.a, linear.b, linear.rank


def _widths(x: Tensor, linears: Sequence[Any]) -> tuple[int, ...]:
    out, _, down = linears
    return *x.shape, out.weight.shape[1], down.weight.shape[1]


def _room(like: Tensor, width: int) -> Tensor:
    """Working memory for a tile of rows of so many numbers."""
    return like.new_empty(_tile(like) * width)


def _tile(x: Tensor) -> int:
    """Rows of a tile where all are as long as they can be alike."""
    return -(-len(x) // max(1, -(-len(x) // TILE))) or 1
