"""A half block on many rows as one call (``half_block.h``), its matrix products by the BLAS that torch brings along.

Threads share its tiles; nothing waits for the interpreter.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from ctypes import byref
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groupwise.kernels import calls
from groupwise.kernels.calls import FinishCall, FinishGradients, LayerViews, ProjectCall, ProjectGradients, View
from groupwise.kernels.learn import rope_arguments
from groupwise.kernels.tile_threads import TileThreads, torch_library

TILE = 256
"""Rows between two matrix products: what they make stays in a core's cache."""


@functools.cache
def multiply() -> bool:
    """Says whether these functions can be called: where torch has MKL, by the names that its functions have."""
    found = calls.learner()
    if isinstance(found, str) or not torch.backends.mkl.is_available():
        return False
    try:
        own = torch_library()
        given = (ctypes.cast(function, ctypes.c_void_p) for function in (own.sgemm_, own.MKL_Set_Num_Threads_Local))
        found.use_product(*given)
    except (OSError, AttributeError):
        return False
    return True


@functools.cache
def multiplies_half() -> bool:
    """Says whether weights may be bfloat16: where the processor has instructions for such products."""
    found = calls.learner()
    return multiply() and not isinstance(found, str) and bool(found.has_bfloat())


class ProjectParts(NamedTuple):
    """These are the parts of ``linear(norm(x))`` of q, k and v; queries and keys normed where there are weights."""

    norm: Tensor
    q_norm: Tensor | None
    k_norm: Tensor | None
    linear: Any  # networks.linear.StackedLinear


class FinishParts(NamedTuple):
    """The norms: after attention, before the feed-forward layers and after them; the layers o, gate and up, down."""

    after_attention: Tensor | None
    before: Tensor
    after: Tensor | None
    out: Any
    gate_up: Any
    down: Any


class FinishKept(NamedTuple):
    """This is what attention adds, y, the rows of gate and up, what they add: the outer ones where they are normed, the
    rows where they are kept."""

    attended: Tensor | None
    middle: Tensor
    rows: Tensor | None
    added: Tensor | None


class LayerSums(NamedTuple):
    """The gradients of a ``StackedLinear``; None for what does not learn."""

    weight: Tensor | None
    bias: Tensor | None
    a: Tensor | None
    b: Tensor | None

    @staticmethod
    def zeros(linear: Any) -> LayerSums:
        """Returns sums of a layer's gradients, which begin at 0."""
        grown = linear.weight if linear.learns else None, linear.bias, linear.a, linear.b
        return LayerSums(*(None if part is None else torch.zeros(part.shape) for part in grown))


def project(x: Tensor, parts: ProjectParts, how: Any, raw: Tensor, made: Tensor, pool: TileThreads) -> None:
    """Computes q, k and v of rows. ``how``: a ``networks.block_backend.BlockPlan``. Rows of q, k and v as they are and
    turned are written."""
    calls.call("project", byref(_project(x, parts, how, raw, made)), pool.handle)


def project_backward(
    x: Tensor, raw: Tensor | None, parts: ProjectParts, how: Any, gradients: Sequence[Tensor], pool: TileThreads
) -> tuple[Tensor, ProjectParts]:
    """The gradient of x, and those of the parts."""
    dx, of_head = torch.empty_like(x), x.new_zeros(2, how.shape[2])
    sums = ProjectParts(torch.zeros_like(parts.norm), of_head[0], of_head[1], LayerSums.zeros(parts.linear))
    norms = map(View.of, (dx, sums.norm, sums.q_norm, sums.k_norm))
    given = ProjectGradients(*map(View.of, gradients), *norms, layer_views(sums.linear))
    calls.call("project_backward", byref(_project(x, parts, how, raw, None)), byref(given), pool.handle)
    return dx, sums


def _project(x: Tensor, parts: ProjectParts, how: Any, raw: Tensor | None, made: Tensor | None) -> ProjectCall:
    rope = rope_arguments(how.rope, (parts.q_norm, parts.k_norm), how.shape, how.eps)
    ends = View.of(x), View.of(parts.norm), layer_views(parts.linear), rope
    return ProjectCall(*ends, View.of(raw), View.of(made), TILE, how.eps)


def finish(
    x: Tensor, mixed: Tensor, parts: FinishParts, how: Any, kept: FinishKept, result: Tensor, pool: TileThreads
) -> None:
    """Computes the second half of a block; ``kept`` and the result are written."""
    calls.call("finish", byref(_finish(x, mixed, parts, how, kept, result)), pool.handle)


def finish_backward(
    dy: Tensor, mixed: Tensor, parts: FinishParts, how: Any, kept: FinishKept, pool: TileThreads
) -> tuple[Tensor, Tensor, FinishParts]:
    """The gradients of x and mixed, and those of the parts."""
    dx, dmixed = torch.empty_like(dy), torch.empty_like(mixed)
    norms = [None if norm is None else torch.zeros_like(norm) for norm in parts[:3]]
    sums = FinishParts(*norms, *map(LayerSums.zeros, parts[3:]))  # type: ignore[arg-type]
    given = FinishGradients(*map(View.of, (dy, dx, dmixed, *norms)), *map(layer_views, sums[3:]))
    calls.call("finish_backward", byref(_finish(None, mixed, parts, how, kept, None)), byref(given), pool.handle)
    return dx, dmixed, sums


def _finish(
    x: Tensor | None, mixed: Tensor, parts: FinishParts, how: Any, kept: FinishKept, result: Tensor | None
) -> FinishCall:
    ends = [*map(View.of, (x, mixed, *parts[:3])), *map(layer_views, parts[3:])]
    return FinishCall(*ends, *map(View.of, (*kept, result)), how.gelu, TILE, how.eps)


def layer_views(layer: Any) -> LayerViews:
    """Returns the views of a ``networks.linear.StackedLinear`` or of ``LayerSums``."""
    half = layer.weight is not None and calls.is_half(layer.weight)
    weight = View.of_weight(layer.weight) if half else View.of(layer.weight)
    return LayerViews(weight, *map(View.of, (layer.bias, layer.a, layer.b)), half)
