"""This module computes half blocks, each in one call of compiled code whose tiles the threads share
(``kernels/half_blocks.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels import half_blocks, learn
from groupwise.kernels.half_blocks import FinishKept, FinishParts, ProjectParts
from groupwise.kernels.tile_threads import TileThreads


class CompiledBlockBackend:
    """This is a ``networks.block_backend.BlockBackend`` in compiled code."""

    def __init__(self, pool: TileThreads) -> None:
        self.pool = pool

    def project(self, x: Tensor, parts: ProjectParts, how: Any) -> tuple[Tensor, Tensor]:
        """Returns rows of q, k and v, raw and as attention takes them, by one compiled call."""
        raw, made = (x.new_empty(len(x), len(parts.linear.weight)) for _ in range(2))
        half_blocks.project(x, parts, how, raw, made, self.pool)
        return raw, made

    def rotate(self, raw: Tensor, parts: ProjectParts, how: Any) -> Tensor:
        """Norms and turns the heads of the raw rows again, by one compiled call."""
        return learn.heads(raw, (parts.q_norm, parts.k_norm), how.rope, how.shape, how.eps, self.pool)

    def project_backward(
        self, x: Tensor, raw: Tensor | None, parts: ProjectParts, how: Any, gradients: Sequence[Tensor]
    ) -> tuple[Tensor, ProjectParts]:
        """Returns the gradients of x and of the parts, by one compiled call."""
        gradients = [learn.side_by_side(gradient) for gradient in gradients]
        return half_blocks.project_backward(x, raw, parts, how, gradients, self.pool)

    def finish(self, x: Tensor, mixed: Tensor, parts: FinishParts, how: Any, keep: bool) -> tuple[Tensor, FinishKept]:
        """Returns the block's result and what the backward pass needs, by one compiled call."""
        attended, added = (None if norm is None else torch.empty_like(x) for norm in (parts[0], parts[2]))
        rows = x.new_empty(len(x), len(parts.gate_up.weight)) if keep else None
        kept, result = FinishKept(attended, torch.empty_like(x), rows, added), torch.empty_like(x)
        half_blocks.finish(x, mixed, parts, how, kept, result, self.pool)
        return result, kept

    def finish_backward(
        self, dy: Tensor, mixed: Tensor, parts: FinishParts, how: Any, kept: FinishKept
    ) -> tuple[Tensor, Tensor, FinishParts]:
        """Returns the gradients of x, mixed and the parts, by one compiled call."""
        return half_blocks.finish_backward(dy, mixed, parts, how, kept, self.pool)
