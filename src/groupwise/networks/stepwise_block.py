"""This module computes half blocks step by step, tile by tile: for float64, and where there is no MKL whose products
compiled code can use.

Without adapters, and without norms on what a half block adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels import learn
from groupwise.kernels.half_blocks import FinishKept, FinishParts, LayerSums, ProjectParts
from groupwise.kernels.tile_threads import TileThreads
from groupwise.networks import torch_ops

TILE = 512  # tokens: what a tile makes between its matrix products stays in a core's cache
FEWEST = 4  # tiles, so that there is something to share


class StepwiseBlockBackend:
    """This ``BlockBackend`` goes step by step: ``kernels`` compiled ones between matrix products, else torch alone."""

    def __init__(self, kernels: bool, pool: TileThreads) -> None:
        self.steps: Any = learn if kernels else torch_ops
        self.pool, self.alone = pool, (TileThreads(1),) if kernels else ()

    def project(self, x: Tensor, parts: ProjectParts, how: Any) -> tuple[Tensor, Tensor]:
        """Returns rows of q, k and v, raw and as attention takes them, a tile of tokens after the other."""
        linear = parts.linear
        raw, made = (x.new_empty(len(x), len(linear.weight)) for _ in range(2))

        def work(tile: slice) -> None:
            _linear(self._norm(x[tile], parts.norm, how), linear.weight, linear.bias, raw[tile])
            made[tile] = self._rotate(raw, tile, parts, how)

        self._each(x, work)
        return raw, made

    def rotate(self, raw: Tensor, parts: ProjectParts, how: Any) -> Tensor:
        """Norms and turns the heads of the raw rows again, a tile of tokens after the other."""
        made = torch.empty_like(raw)

        def work(tile: slice) -> None:
            made[tile] = self._rotate(raw, tile, parts, how)

        self._each(raw, work)
        return made

    def project_backward(
        self, x: Tensor, raw: Tensor | None, parts: ProjectParts, how: Any, gradients: Sequence[Tensor]
    ) -> tuple[Tensor, ProjectParts]:
        """Returns the gradients of x and of the parts, whose sums over tiles are added in one order."""
        linear, dx, of_head = parts.linear, torch.zeros_like(x), x.new_empty(how.shape[2])

        def work(tile: slice, sums: list[Any]) -> None:
            rows, given = None if raw is None else raw[tile], [gradient[tile] for gradient in gradients]
            norms = parts.q_norm, parts.k_norm
            rotate = norms, _rope_of(how, tile), how.shape, how.eps, given
            draw, *found = self.steps.heads_backward(rows, *rotate, *self.alone)
            found.insert(0, self._norm_backward(x[tile], parts.norm, how, draw @ linear.weight, dx[tile]))
            for whole, part in zip(sums[:3], found, strict=True):
                whole += part
            if linear.learns:
                sums[3].addmm_(draw.T, self._norm(x[tile], parts.norm, how))
            if linear.bias is not None:
                sums[4].add_(draw.sum(0))

        like = parts.norm, of_head, of_head, linear.weight if linear.learns else None, linear.bias
        dnorm, dq_norm, dk_norm, dweight, dbias = self.pool.summed(tiles_of(len(x)), like, work)
        return dx, ProjectParts(dnorm, dq_norm, dk_norm, LayerSums(dweight, dbias, None, None))

    def finish(self, x: Tensor, mixed: Tensor, parts: FinishParts, how: Any, keep: bool) -> tuple[Tensor, FinishKept]:
        """Returns the block's result and what the backward pass needs: x + o(mixed), and rows of gate and up."""
        o, both, down = (linear.weight for linear in parts[3:])
        rows = x.new_empty(len(x), len(both)) if keep else None
        middle, result = torch.empty_like(x), torch.empty_like(x)

        def work(tile: slice) -> None:
            torch.addmm(x[tile], mixed[tile], o.T, out=middle[tile])
            both_rows = x.new_empty(len(x[tile]), len(both)) if rows is None else rows[tile]
            torch.mm(self._norm(middle[tile], parts.before, how), both.T, out=both_rows)
            torch.addmm(middle[tile], self.steps.swiglu(both_rows, *self.alone), down.T, out=result[tile])

        self._each(x, work)
        return result, FinishKept(None, middle, rows, None)

    def finish_backward(
        self, dy: Tensor, mixed: Tensor, parts: FinishParts, how: Any, kept: FinishKept
    ) -> tuple[Tensor, Tensor, FinishParts]:
        """Returns the gradients of x, mixed and the parts, whose sums over tiles are added in one order."""
        dx, dmixed, (o, both, down) = dy.clone(), torch.empty_like(mixed), parts[3:]
        _, middle, rows, _ = kept
        assert rows is not None

        def work(tile: slice, sums: list[Any]) -> None:
            active, drows = self.steps.swiglu_backward(rows[tile], dy[tile] @ down.weight, *self.alone)
            normed, change = self._norm(middle[tile], parts.before, how), dx[tile]
            sums[0] += self._norm_backward(middle[tile], parts.before, how, drows @ both.weight, change)
            torch.mm(change, o.weight, out=dmixed[tile])
            ends = (o, change, mixed[tile]), (both, drows, normed), (down, dy[tile], active)
            for grown, (linear, back, given) in zip(sums[1:], ends, strict=True):
                if linear.learns:
                    grown.addmm_(back.T, given)

        like = parts.before, *(linear.weight if linear.learns else None for linear in parts[3:])
        dbefore, *found = self.pool.summed(tiles_of(len(dy)), like, work)
        sums = FinishParts(None, dbefore, None, *(LayerSums(each, None, None, None) for each in found))
        return dx, dmixed, sums

    def _each(self, x: Tensor, work: Any) -> None:
        tiles = tiles_of(len(x))
        self.pool.each(len(tiles), lambda number: work(tiles[number]))

    def _rotate(self, raw: Tensor, tile: slice, parts: ProjectParts, how: Any) -> Tensor:
        norms = parts.q_norm, parts.k_norm
        return self.steps.heads(raw[tile], norms, _rope_of(how, tile), how.shape, how.eps, *self.alone)

    def _norm(self, x: Tensor, weight: Tensor, how: Any) -> Tensor:
        return self.steps.norm(x, weight, how.eps, *self.alone)

    def _norm_backward(self, x: Tensor, weight: Tensor, how: Any, dy: Tensor, dx: Tensor) -> Tensor:
        return self.steps.norm_backward(x, weight, how.eps, dy, dx, *self.alone)


def tiles_of(rows: int) -> list[slice]:
    """Returns tiles of equal size, whatever the number of threads."""
    size = -(-rows // max(FEWEST, -(-rows // TILE))) or 1
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _rope_of(how: Any, tile: slice) -> tuple[Tensor, Tensor, Tensor]:
    cos, sin, positions = how.rope
    return cos, sin, positions[tile]


def _linear(x: Tensor, matrix: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(x, matrix.T, out=out)
    else:
        torch.addmm(bias, x, matrix.T, out=out)
