"""This module computes a mixture of experts on packed rows: those of one expert side by side, one matrix product each.

Where a mixture is more than a router and experts (biases, adapters), its own module computes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARTS, WEIGHTS, SHARED = {"gate", "experts"}, {"gate_up_proj", "down_proj"}, "shared_experts"
Activation = Literal["silu", "gelu_tanh", "clamped"]


def is_plain(mixture: nn.Module) -> bool:
    """Says whether it is a router and experts whose weights are one parameter each, gate and up one after the other."""
    children = dict(mixture.named_children())
    if set(children) - {SHARED} != PARTS or hasattr(children["experts"], "get_base_layer"):
        return False
    parts = dict(children["experts"].named_parameters())
    transposed = dict(vars(children["experts"])).get("is_transposed", False)
    return set(parts) == WEIGHTS and not transposed and all(weight.dim() == 3 for weight in parts.values())


def mixed(mixture: Any, x: Tensor, activation: Activation) -> Tensor:
    """Returns ``[N, d]`` what a mixture makes of rows ``[N, d]``, differentiable, router and all."""
    if not is_plain(mixture):
        made = mixture(x[None])
        return (made[0] if isinstance(made, tuple) else made)[0]  # type: ignore[no-any-return]
    _, weights, chosen = mixture.gate(x)
    experts = chosen.flatten()
    order = experts.argsort(stable=True)
    rows = order.div(chosen.shape[1], rounding_mode="floor")
    counts = torch.bincount(experts, minlength=len(mixture.experts.gate_up_proj)).tolist()
    given = rows, counts, activation, mixture.experts.gate_up_proj, mixture.experts.down_proj
    sums: Tensor = _Experts.apply(x, weights.flatten()[order], *given)
    shared = dict(mixture.named_children()).get(SHARED)
    return sums if shared is None else sums + shared(x)


class _Experts(torch.autograd.Function):
    """Σ_e w · down_e(active(gate_e x) · up_e x). Kept are the rows of gate and up; what comes after is made again."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weights: Tensor,
        rows: Tensor,
        counts: Sequence[int],
        activation: Activation,
        gate_up: Tensor,
        down: Tensor,
    ) -> Tensor:
        inputs = x[rows]
        between = _products(inputs, counts, gate_up.transpose(1, 2))
        gate, up = between.chunk(2, dim=-1)
        made = _products(_active(gate, activation).mul_(up), counts, down.transpose(1, 2))
        ctx.save_for_backward(x, weights, rows, between, gate_up, down)
        ctx.counts, ctx.activation = counts, activation
        return torch.zeros_like(x).index_add_(0, rows, (made * weights[:, None]).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weights, rows, between, gate_up, down = ctx.saved_tensors
        gate, up = between.chunk(2, dim=-1)
        active = _active(gate, ctx.activation)
        dmade, hidden, scale = dy[rows], active * up, weights[:, None].to(dy.dtype)
        dhidden = _products(dmade, ctx.counts, down)
        dweights = (dhidden * hidden).sum(-1).to(weights.dtype)
        dhidden.mul_(scale)
        learns = ctx.needs_input_grad
        ddown = _sums(dmade, hidden.mul_(scale), ctx.counts, down) if learns[6] else None
        dbetween = torch.cat((_active_backward(dhidden * up, gate, ctx.activation), dhidden.mul_(active)), dim=-1)
        dgate_up = _sums(dbetween, x[rows], ctx.counts, gate_up) if learns[5] else None
        dx = torch.zeros_like(x).index_add_(0, rows, _products(dbetween, ctx.counts, gate_up)) if learns[0] else None
        return dx, dweights, None, None, None, dgate_up, ddown


def _products(x: Tensor, counts: Sequence[int], matrices: Tensor) -> Tensor:
    """Every expert's rows times its matrix, of ``[E, inputs, outputs]``."""
    made = x.new_empty(len(x), matrices.shape[2])
    for expert, part in _parts(counts):
        torch.mm(x[part], matrices[expert], out=made[part])
    return made


def _sums(left: Tensor, right: Tensor, counts: Sequence[int], like: Tensor) -> Tensor:
    """Every expert's leftᵀ right, ``[E, ...]``; 0 where an expert has no rows."""
    found = torch.empty_like(like) if all(counts) else torch.zeros_like(like)
    for expert, part in _parts(counts):
        torch.mm(left[part].T, right[part], out=found[expert])
    return found


def _parts(counts: Sequence[int]) -> Iterator[tuple[int, slice]]:
    """Yields each expert that has rows, with them."""
    start = 0
    for expert, count in enumerate(counts):
        if count:
            yield expert, slice(start, start + count)
        start += count


def _active(x: Tensor, activation: Activation) -> Tensor:
    return F.silu(x) if activation == "silu" else F.gelu(x, approximate="tanh")


def _active_backward(dy: Tensor, x: Tensor, activation: Activation) -> Tensor:
    if activation == "silu":
        return torch.ops.aten.silu_backward(dy, x)  # type: ignore[no-any-return]
    return torch.ops.aten.gelu_backward(dy, x, approximate="tanh")  # type: ignore[no-any-return]
