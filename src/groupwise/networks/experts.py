"""This module computes a mixture of experts on packed rows: those of one expert side by side, one matrix product each.

Where a mixture is more than a router and experts (biases, adapters), its own module computes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARTS, WEIGHTS, SHARED = {"gate", "experts"}, {"gate_up_proj", "down_proj"}, "shared_experts"


def is_plain(mixture: nn.Module) -> bool:
    """Says whether it is a router and experts whose weights are one parameter each, gate and up one after the other."""
    children = dict(mixture.named_children())
    if set(children) - {SHARED} != PARTS or hasattr(children["experts"], "get_base_layer"):
        return False
    parts = dict(children["experts"].named_parameters())
    transposed = dict(vars(children["experts"])).get("is_transposed", False)
    return set(parts) == WEIGHTS and not transposed and all(weight.dim() == 3 for weight in parts.values())


def mixed(mixture: Any, x: Tensor, active: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns ``[N, d]`` what a mixture makes of rows ``[N, d]``, differentiable, router and all."""
    if not is_plain(mixture):
        made = mixture(x[None])
        return (made[0] if isinstance(made, tuple) else made)[0]  # type: ignore[no-any-return]
    _, weights, chosen = mixture.gate(x)
    experts = chosen.flatten()
    order = experts.argsort(stable=True)
    rows = order.div(chosen.shape[1], rounding_mode="floor")
    counts = torch.bincount(experts, minlength=len(mixture.experts.gate_up_proj)).tolist()
    gate, up = _each(x[rows], counts, mixture.experts.gate_up_proj).chunk(2, dim=-1)
    made = _each(active(gate) * up, counts, mixture.experts.down_proj)
    sums = torch.zeros_like(x).index_add(0, rows, (made * weights.flatten()[order, None]).to(x.dtype))
    shared = dict(mixture.named_children()).get(SHARED)
    return sums if shared is None else sums + shared(x)


def _each(x: Tensor, counts: Sequence[int], weights: Tensor) -> Tensor:
    """Every expert's rows through its own weight."""
    parts = zip(x.split(counts), weights.unbind(0), strict=True)
    return torch.cat([F.linear(part, weight) for part, weight in parts if len(part)])
