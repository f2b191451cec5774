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
from groupwise.networks.block_backend import block_plan, finish_fusible, project_fusible, residual_like
from groupwise.networks.blueprint import Blueprint, Latent, LayerParts
from groupwise.networks.experts import mixed
from groupwise.networks.fused_blocks import finish, project
from groupwise.networks.linear import linears, share_storage
from groupwise.networks.torch_ops import apply_rope, at_positions

Attend = Callable[..., Tensor]
"""``(layer, q [N, H, D], k [N, Hkv, D], v [N, Hkv, D]) -> [N, H, D]``: who sees whom is the caller's. With gradient,
``fused_blocks.Again`` may come last."""


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
        self.fused_tables: list[tuple[Tensor, Tensor]] = []
        """The same, in the dtype in which whole halves of a block are computed."""
        for layer in blueprint.layers if joined else ():
            share_storage(layer.inward)
            share_storage(layer.gate_up)
        self.reach(length)

    @property
    def tiled(self) -> bool:
        """Says whether every block is computed in tiles, so that lanes help it more than threads within operations."""
        like = residual_like(self.blueprint.embedding.weight)
        return all(
            project_fusible(self.blueprint, layer, like) and finish_fusible(self.blueprint, layer, like)
            for layer in self.blueprint.layers
        )

    def reach(self, length: int) -> None:
        """Makes tables of rotary angles for positions up to ``length``."""
        if length > self.length:
            self.length = 1 << (length - 1).bit_length()
            self.tables = self.blueprint.tables(self.length)
            dtype = residual_like(self.blueprint.embedding.weight).dtype
            self.fused_tables = [(cos.to(dtype), sin.to(dtype)) for cos, sin in self.tables]

    def hidden(self, tokens: Tensor, positions: Tensor, attend: Attend, read: Tensor | None = None) -> Tensor:
        """Returns ``[N, d]`` normalised last hidden states of ``tokens`` ``[N]`` at ``positions`` ``[N]``; with
        ``read`` ``[R]``, those of these tokens alone, and nothing that only the others' would need."""
        blueprint = self.blueprint
        x = F.embedding(tokens, blueprint.embedding.weight, blueprint.embedding.padding_idx)
        if blueprint.embedding_scale != 1:
            x = x * blueprint.embedding_scale
        x = x.to(residual_like(blueprint.embedding.weight).dtype)
        if blueprint.places is not None:
            x = x + F.embedding(positions, blueprint.places.weight)
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
        rope, fused_rope = (*self.tables[layer.rope], positions), (*self.fused_tables[layer.rope], positions)
        normed, again = None, None
        if project_fusible(blueprint, layer, x):
            parts, again = project(x, layer, block_plan(blueprint, layer, x, fused_rope, self.pool))
        else:
            normed = self._norm(x, layer.before_attention)
            parts = self._project(layer, normed, rope)
        attended = attend(number, *parts, again) if again else attend(number, *parts)
        mixed = (attended[..., : layer.latent.value] if layer.latent else attended).flatten(1)
        if read is not None:
            x, mixed, normed = x[read], mixed[read], None if normed is None else normed[read]
        if finish_fusible(blueprint, layer, x):
            return finish(x, mixed.to(x.dtype), layer, block_plan(blueprint, layer, x, fused_rope, self.pool))
        mixed = mixed.to(blueprint.embedding.weight.dtype)
        x = x + self._scaled(self._norm(layer.o(mixed), layer.after_attention))
        given = normed if blueprint.parallel and normed is not None else self._norm(x, layer.before_mlp)
        return x + self._scaled(self._norm(self._feed_forward(layer, given), layer.after_mlp))

    def _feed_forward(self, layer: LayerParts, x: Tensor) -> Tensor:
        if layer.mixture is not None:
            return mixed(layer.mixture, x, self.blueprint.activation, self.pool)
        made = linears(layer.gate_up, x)
        assert layer.down is not None
        if layer.gate is None:
            return layer.down(self._active(made[0]))
        gate, up = made if len(made) == 2 else made[0].chunk(2, dim=-1)
        return layer.down(self._active(gate) * up)

    def _active(self, x: Tensor) -> Tensor:
        return F.silu(x) if self.blueprint.activation == "silu" else F.gelu(x, approximate="tanh")

    def _scaled(self, added: Tensor) -> Tensor:
        scale = self.blueprint.residual_scale
        return added if scale == 1 else added * scale

    def _project(self, layer: LayerParts, normed: Tensor, rope: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
        blueprint, size = self.blueprint, self.blueprint.head_dim
        q, k, v = self._from_latents(layer, layer.latent, normed) if layer.latent else self._rows(layer, normed)
        if blueprint.head_norms == "row":
            q, k = self._norm(q, layer.q_norm), self._norm(k, layer.k_norm)
        cos, sin = at_positions(*rope)
        q, k = (
            self._turned(part.unflatten(1, (-1, size)), norm, cos, sin)
            for part, norm in ((q, layer.q_norm), (k, layer.k_norm))
        )
        scales = blueprint.query_scales(rope[2])
        q = q if scales is None else q * scales.to(q.dtype)[:, None, None]
        return q, k, v.unflatten(1, (-1, size))

    def _rows(self, layer: LayerParts, normed: Tensor) -> tuple[Tensor, ...]:
        made, blueprint = linears(layer.inward, normed), self.blueprint
        counts = blueprint.heads, blueprint.kv_heads, blueprint.kv_heads
        return made if len(made) == 3 else made[0].split([count * blueprint.head_dim for count in counts], dim=-1)

    def _from_latents(self, layer: LayerParts, latent: Latent, normed: Tensor) -> tuple[Tensor, ...]:
        """Values have zeros behind them: heads are as wide as keys."""
        size, kind = self.blueprint.head_dim, normed.dtype

        def norm(x: Tensor, module: Any) -> Tensor:
            return F.rms_norm(x, x.shape[-1:], module.weight, latent.eps).to(kind)

        q = layer.q(normed if latent.q_in is None else norm(latent.q_in(normed), latent.q_norm))
        kv, turned = latent.kv_in(normed).split([latent.kv_size, size - latent.unturned], dim=-1)
        both = latent.kv_out(norm(kv, latent.kv_norm)).unflatten(1, (self.blueprint.heads, -1))
        still, values = both.split([latent.unturned, latent.value], dim=-1)
        k = torch.cat((still, turned[:, None].expand(-1, self.blueprint.heads, -1)), dim=-1)
        return q, k.flatten(1), F.pad(values, (0, size - latent.value)).flatten(1)

    def _turned(self, x: Tensor, norm: nn.Module | None, cos: Tensor, sin: Tensor) -> Tensor:
        """Heads ``[N, H, D]`` as they meet, normed where each head is by itself."""
        kind, order = self.blueprint.head_norms, self.blueprint.order
        if kind == "head":
            x = self._norm(x, norm)
        x = apply_rope(x[..., list(order)] if order else x, cos, sin)
        return self._norm(x, norm) if kind == "turned" else x

    def _norm(self, x: Tensor, norm: nn.Module | None) -> Tensor:
        """RMSNorm (arXiv 1910.07467) or LayerNorm, its sums in float32 at least. A weight beside an offset is small: in
        half precision their sum would lose it."""
        blueprint = self.blueprint
        kind = blueprint.embedding.weight.dtype
        if norm is None:
            return x.to(kind)
        weight = _weight(norm)
        bias: Tensor | None = dict(norm.named_parameters()).get("bias")
        if x.dtype == weight.dtype and not blueprint.centred and not blueprint.norm_offset:
            return F.rms_norm(x, x.shape[-1:], weight, blueprint.eps).to(kind)
        dtype = torch.promote_types(x.dtype, torch.float32)
        if blueprint.centred:
            bias = None if bias is None else bias.to(dtype)
            return F.layer_norm(x.to(dtype), x.shape[-1:], weight.to(dtype), bias, blueprint.eps).to(kind)
        scale = blueprint.norm_offset + weight.to(dtype) if blueprint.norm_offset else weight.to(dtype)
        return F.rms_norm(x.to(dtype), x.shape[-1:], scale, blueprint.eps).to(kind)


def _weight(norm: Any) -> Tensor:
    return norm.weight
