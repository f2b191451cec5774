"""This module computes a mixture of experts on packed rows: those of one expert side by side, one matrix product each.

Where a mixture is more than a router and experts (biases, adapters), its own module computes it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groupwise.kernels import learn
from groupwise.kernels.tile_threads import TileThreads

TILE = 256
"""Rows of an expert between two matrix products."""
ALONE = TileThreads(1)
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


def mixed(mixture: Any, x: Tensor, activation: Activation, pool: TileThreads) -> Tensor:
    """Returns ``[N, d]`` what a mixture makes of rows ``[N, d]``, differentiable, router and all. ``pool``: whose
    threads compute."""
    if not is_plain(mixture):
        made = mixture(x[None])
        return (made[0] if isinstance(made, tuple) else made)[0]  # type: ignore[no-any-return]
    _, weights, chosen = mixture.gate(x)
    chosen, order = chosen.sort(dim=1)  # so that a row's are added in the order of the experts
    plan = ExpertPlan.of(chosen, len(mixture.experts.gate_up_proj), tile_rows(x), activation, pool)
    given = mixture.experts.gate_up_proj, mixture.experts.down_proj
    sums: Tensor = _Experts.apply(x, weights.gather(1, order), plan, *given)
    shared = dict(mixture.named_children()).get(SHARED)
    return sums if shared is None else sums + shared(x)


def tile_rows(x: Tensor) -> int:
    """Returns how many rows of an expert are computed at a time: all on a GPU, whose products want many, and in half
    precision, in which sums over tiles would be rounded."""
    return TILE if x.device.type == "cpu" and x.dtype.itemsize > 2 else max(1, x.shape[0])


class ExpertPlan(NamedTuple):
    """A plan says which rows go to which expert: P = N · chosen picks, those of one expert side by side."""

    rows: Tensor  # [P] the row of each pick
    places: Tensor  # [N, chosen] where a row's picks stand, by expert
    tiles: list[list[slice]]
    """Of each expert its picks, so many at a time that what is made of them stays in a core's cache."""
    activation: Activation
    pool: TileThreads

    @staticmethod
    def of(chosen: Tensor, experts: int, most: int, activation: Activation, pool: TileThreads) -> ExpertPlan:
        """Plans for ``chosen`` ``[N, chosen]``, experts of each row in their order; ``most``: picks of a tile."""
        order = chosen.flatten().argsort(stable=True)
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=order.device)
        ends = list(accumulate(torch.bincount(chosen.flatten(), minlength=experts).tolist(), initial=0))
        tiles = [[slice(at, min(at + most, end)) for at in range(start, end, most)] for start, end in pairwise(ends)]
        rows = order.div(chosen.shape[1], rounding_mode="floor")
        return ExpertPlan(rows, places.view_as(chosen), tiles, activation, pool)

    def each(self, count: int, work: Callable[[int], None], like: Tensor) -> None:
        """Calls ``work`` of 0 to ``count`` - 1: on a CPU by whichever thread is free."""
        if like.device.type != "cpu":
            for number in range(count):
                work(number)
            return
        with self.pool.inside(tiled=True):
            self.pool.each(count, work)

    def compiled(self, like: Tensor, width: int) -> bool:
        """Says whether compiled code computes what stands between matrix products."""
        return self.activation == "silu" and learn.fits(like, (width,))

    def active(self, both: Tensor) -> Tensor:
        """Returns ``active(gate) · up`` of rows of gate and up."""
        if self.compiled(both, both.shape[1] // 2):
            return learn.swiglu(both, ALONE)
        gate, up = both.chunk(2, dim=-1)
        return _active(gate, self.activation).mul_(up)

    def active_backward(self, both: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``active(both)`` again, and the gradient of ``both`` for ``dy``, that of the former."""
        if self.compiled(both, both.shape[1] // 2):
            return learn.swiglu_backward(both, dy, ALONE)
        gate, up = both.chunk(2, dim=-1)
        active = _active(gate, self.activation)
        return active * up, torch.cat((_active_backward(dy * up, gate, self.activation), dy * active), dim=-1)


class _Experts(torch.autograd.Function):
    """Σ_e w · down_e(active(gate_e x) · up_e x). Kept are the rows of gate and up; what comes after is made again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, plan: ExpertPlan, gate_up: Tensor, down: Tensor) -> Tensor:
        between, made = (x.new_empty(len(plan.rows), width) for width in (gate_up.shape[1], x.shape[1]))
        tiles = [(expert, tile) for expert, own in enumerate(plan.tiles) for tile in own]

        def work(number: int) -> None:
            expert, tile = tiles[number]
            torch.mm(x[plan.rows[tile]], gate_up[expert].T, out=between[tile])
            torch.mm(plan.active(between[tile]), down[expert].T, out=made[tile])

        plan.each(len(tiles), work, x)
        ctx.save_for_backward(x, weights, between, gate_up, down)
        ctx.plan = plan
        return _sums(made, plan.places, weights).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weights, between, gate_up, down = ctx.saved_tensors
        plan, learns, dy = ctx.plan, any(ctx.needs_input_grad[3:]), dy.contiguous()
        of_picks = torch.empty_like(weights.flatten()).scatter_(0, plan.places.flatten(), weights.flatten())
        dweights, dinputs = torch.empty_like(of_picks), x.new_empty(len(plan.rows), x.shape[1])
        grown = torch.zeros_like(gate_up) if learns else None, torch.zeros_like(down) if learns else None

        def work(expert: int) -> None:
            for tile in plan.tiles[expert]:
                rows = plan.rows[tile]
                back = dy[rows]
                dhidden = back @ down[expert]
                hidden, dboth = plan.active_backward(between[tile], dhidden)
                dweights[tile] = (dhidden * hidden).sum(-1)
                scale = of_picks[tile, None].to(dy.dtype)
                dboth.mul_(scale)
                if grown[0] is not None and grown[1] is not None:
                    grown[0][expert].addmm_(dboth.T, x[rows])
                    grown[1][expert].addmm_(back.T, hidden.mul_(scale))
                torch.mm(dboth, gate_up[expert], out=dinputs[tile])

        plan.each(len(plan.tiles), work, x)
        dx = _sums(dinputs, plan.places, None).to(x.dtype) if ctx.needs_input_grad[0] else None
        return dx, dweights[plan.places], None, *grown


def _sums(picks: Tensor, places: Tensor, weights: Tensor | None) -> Tensor:
    """Returns ``[N, d]`` each row's picks, times their weights, added in their order, in float32 at least."""
    kind = torch.promote_types(picks.dtype, torch.float32)
    total = picks.new_zeros(len(places), picks.shape[1], dtype=kind)
    for place, own in enumerate(places.unbind(1)):
        part = picks[own].to(kind)
        total += part if weights is None else part.mul_(weights[:, place, None])
    return total


def _active(x: Tensor, activation: Activation) -> Tensor:
    return F.silu(x) if activation == "silu" else F.gelu(x, approximate="tanh")


def _active_backward(dy: Tensor, x: Tensor, activation: Activation) -> Tensor:
    if activation == "silu":
        return torch.ops.aten.silu_backward(dy, x)  # type: ignore[no-any-return]
    return torch.ops.aten.gelu_backward(dy, x, approximate="tanh")  # type: ignore[no-any-return]
