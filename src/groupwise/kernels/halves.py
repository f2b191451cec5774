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

TILE = 512
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
    x: Tensor, norm: Tensor, eps: float, linear: Sequence[Any], heads: Sequence[Any], turns: Any, shape: Any, made: Any
) -> None:
    """``linear``: weight and bias of q, k and v; ``heads``: norm weights of q and k; ``made``: their rows as they are
    and turned, which are written."""
    given = x, norm, ctypes.c_float(eps), *linear, *heads, *turns
    call("project", *given, *x.shape, *shape, _tile(x), *made, _room(x, x.shape[1]))


def project_backward(
    x: Tensor,
    norm: Tensor,
    eps: float,
    matrix: Tensor,
    raw: Tensor | None,
    heads: Sequence[Any],
    turns: Any,
    shape: Any,
    gradients: Sequence[Tensor],
    found: Sequence[Any],
) -> None:
    """``found``: the gradient of x, which is written; those of norm, q's and k's norm, matrix and bias, which grow."""
    strided = [part for gradient in gradients for part in (gradient, ctypes.c_int64(gradient.stride(0)))]
    given = x, norm, ctypes.c_float(eps), matrix, raw, *heads, *turns, *x.shape, *shape
    call("project_backward", *given, *strided, _tile(x), *found, _room(x, 2 * x.shape[1] + len(matrix)))


def finish(
    x: Tensor, mixed: Tensor, norm: Tensor, eps: float, weights: Sequence[Tensor], made: Sequence[Tensor | None]
) -> None:
    """``weights``: o, gate and up together, down; ``made``: y, rows of gate and up or None, the result: written."""
    given, widths = (x, mixed, norm, ctypes.c_float(eps), *weights), _widths(x, weights)
    call("finish", *given, *widths, _tile(x), *made, _room(x, x.shape[1] + 3 * widths[-1]))


def finish_backward(
    dy: Tensor,
    kept: Sequence[Tensor],
    norm: Tensor,
    eps: float,
    weights: Sequence[Tensor],
    made: Sequence[Tensor],
    sums: Sequence[Tensor],
) -> None:
    """``kept``: mixed, y, rows of gate and up; ``made``: gradients of x and mixed, which are written; ``sums``: of norm
    and weights, which grow."""
    given, widths = (dy, *kept, norm, ctypes.c_float(eps), *weights), _widths(dy, weights)
    call("finish_backward", *given, *widths, _tile(dy), *made, *sums, _room(dy, 2 * dy.shape[1] + 4 * widths[-1]))


def _widths(x: Tensor, weights: Sequence[Tensor]) -> tuple[int, ...]:
    out, _, down = weights
    return *x.shape, out.shape[1], down.shape[1]


def _room(like: Tensor, width: int) -> Tensor:
    """Working memory for a tile of rows of so many numbers."""
    return like.new_empty(_tile(like) * width)


def _tile(x: Tensor) -> int:
    return max(1, min(TILE, len(x)))
