"""The trunk takes packed tokens and gives their last hidden states: one forward pass for learner and engine, with
gradient or without.

Computes with the parameters of a transformers model where they are; ``LayerParts`` names them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from groupwise.kernels.tile_threads import TileThreads
from groupwise.networks.block_backend import block_plan, fusible
from groupwise.networks.blueprint import Blueprint, LayerParts
from groupwise.networks.fused_blocks import finish, project
from groupwise.networks.linear import linears, share_storage
from groupwise.networks.torch_ops import apply_rope, at_positions

Attend = Callable[..., Tensor]
"""``(layer, q [N, H, D], k [N, Hkv, D], v [N, Hkv, D]) -> [N, H, D]``: who sees whom is the caller's. With gradient,
``fused.Again`` may come last."""


class Trunk:
    """A trunk computes the last hidden states of packed tokens. ``length``: positions 0 .. length - 1 can be used;
    ``reach`` makes them more.

    ``recompute``: with gradient, a block keeps its input alone and is computed again in the backward pass
    (Chen et al., arXiv 1604.06174). ``pool``: whose threads compute; else as many as torch has. ``joined``: weights
    that are read together are laid side by side in memory.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        length: int,
        recompute: bool = False,
        pool: TileThreads | None = None,
        joined: bool = True,
    ) -> None:
        self.blueprint, self.recompute = blueprint, recompute
        self.pool = pool or TileThreads(torch.get_num_threads())
        self.blocks: list[Callable[..., Tensor]] = [partial(self._block, n) for n in range(len(blueprint.layers))]
        """What is called for each block: a learner of many processes has its own call around each."""
        self.length = 0
        self.tables: list[tuple[Tensor, Tensor]] = []
        for layer in blueprint.layers if joined else ():
            share_storage([layer.q, layer.k, layer.v])
            share_storage([layer.gate, layer.up])
        self.reach(length)

    @property
    def tiled(self) -> bool:
        """Whether every block is computed in tiles, so that lanes help it more than threads within operations."""
        embedding = self.blueprint.embedding.weight
        return all(fusible(self.blueprint, layer, embedding) for layer in self.blueprint.layers)

    def reach(self, length: int) -> None:
        if length > self.length:
            self.length = 1 << (length - 1).bit_length()
            self.tables = self.blueprint.tables(self.length)

    def hidden(self, tokens: Tensor, positions: Tensor, attend: Attend, read: Tensor | None = None) -> Tensor:
        """Returns ``[N, d]`` normalised last hidden states of ``tokens`` ``[N]`` at ``positions`` ``[N]``; with
        ``read`` ``[R]``, those of these tokens alone, and nothing that only the others' would need."""
        blueprint = self.blueprint
        x = F.embedding(tokens, blueprint.embedding.weight, blueprint.embedding.padding_idx)
        if blueprint.embedding_scale != 1:
            x = x * blueprint.embedding_scale
        last = len(blueprint.layers) - 1
        for number in range(last + 1):
            given = x, positions, attend, read if number == last else None
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(self.blocks[number], *given, use_reentrant=False, preserve_rng_state=False)
            else:
                x = self.blocks[number](*given)
        return self._norm(x, blueprint.norm)

    def _block(self, number: int, x: Tensor, positions: Tensor, attend: Attend, read: Tensor | None) -> Tensor:
        blueprint, layer = self.blueprint, self.blueprint.layers[number]
        rope = *self.tables[layer.rope], positions
        how = block_plan(blueprint, layer, x, rope, self.pool) if fusible(blueprint, layer, x) else None
        parts, again = project(x, layer, how) if how else (self._project(layer, x, rope), None)
        mixed = (attend(number, *parts, again) if again else attend(number, *parts)).flatten(1)
        if read is not None:
            x, mixed = x[read], mixed[read]
        if how:
            return finish(x, mixed, layer, how)
        added = layer.o(mixed)
        x = x + (added if layer.after_attention is None else self._norm(added, layer.after_attention))
        gate, up = linears([layer.gate, layer.up], self._norm(x, layer.before_mlp))
        active = F.silu(gate) if blueprint.activation == "silu" else F.gelu(gate, approximate="tanh")
        added = layer.down(active * up)
        return x + (added if layer.after_mlp is None else self._norm(added, layer.after_mlp))

    def _project(self, layer: LayerParts, x: Tensor, rope: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
        parts = linears([layer.q, layer.k, layer.v], self._norm(x, layer.before_attention))
        q, k, v = (part.unflatten(1, (-1, self.blueprint.head_dim)) for part in parts)
        cos, sin = at_positions(*rope)
        q, k = (
            apply_rope(x if norm is None else self._norm(x, norm), cos, sin)
            for x, norm in ((q, layer.q_norm), (k, layer.k_norm))
        )
        return q, k, v

    def _norm(self, x: Tensor, norm: nn.Module) -> Tensor:
        """RMSNorm (arXiv 1910.07467), its sums in float32 at least. A weight beside an offset is small: in half
        precision their sum would lose it."""
        blueprint, weight = self.blueprint, _weight(norm)
        if not blueprint.norm_offset:
            return F.rms_norm(x, x.shape[-1:], weight, blueprint.eps)
        dtype = torch.promote_types(x.dtype, torch.float32)
        scale = blueprint.norm_offset + weight.to(dtype)
        return F.rms_norm(x.to(dtype), x.shape[-1:], scale, blueprint.eps).to(x.dtype)


def _weight(norm: Any) -> Tensor:
    return norm.weight
