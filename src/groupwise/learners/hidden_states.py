"""This module computes the hidden states of a micro-batch: by a packed forward pass where the architecture is known,
else by transformers' own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from groupwise.errors import UserError
from groupwise.kernels.tile_threads import TileThreads
from groupwise.learners.micro_batch import MicroBatch
from groupwise.networks import blueprint_of
from groupwise.networks.attention import packed_attention
from groupwise.networks.fused_blocks import Again
from groupwise.networks.packing import Packing
from groupwise.networks.trunk import Trunk

PROBE = 8  # tokens


class Backbone(Protocol):
    """The trunk of a transformer, whatever its head."""

    fallback_reason: str
    """Why it computes padding and every prompt as often as it occurs; empty: it does not."""
    tiled: bool
    """Whether lanes help it more than threads within operations."""

    parameters: int
    """How many it has."""

    def __call__(self, micro_batch: MicroBatch) -> Tensor:
        """Returns ``[N, d]``, the hidden states that are read for the N sampled tokens."""
        ...

    def shallow(self, pool: TileThreads) -> Backbone:
        """Returns as few of its blocks as can be had, on the same parameters: a token costs in them what it costs in
        any."""
        ...

    def on(self, model: Any) -> Backbone:
        """Returns the same on another model of its architecture, whose parameters stay where they lie in memory."""
        ...


class PackedBackbone(Backbone):
    """This backbone computes no padding, and a shared prompt once."""

    fallback_reason = ""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk, self.tiled = trunk, trunk.tiled
        blueprint = trunk.blueprint
        parts = [part for layer in blueprint.layers for part in vars(layer).values() if isinstance(part, nn.Module)]
        places = [] if blueprint.places is None else [blueprint.places]
        self.parameters = _count([*parts, *places, blueprint.embedding, blueprint.norm])

    def shallow(self, pool: TileThreads) -> PackedBackbone:
        """Returns its first block."""
        trunk, first = self.trunk, replace(self.trunk.blueprint, layers=self.trunk.blueprint.layers[:1])
        return PackedBackbone(Trunk(first, PROBE, trunk.recompute, pool))

    def on(self, model: Any) -> PackedBackbone:
        """Returns a backbone of another model that is computed in the same way."""
        blueprint = blueprint_of(model)
        assert not isinstance(blueprint, str)
        return PackedBackbone(Trunk(blueprint, PROBE, self.trunk.recompute, self.trunk.pool))

    def __call__(self, micro_batch: MicroBatch) -> Tensor:
        read, again = micro_batch.where.unique(return_inverse=True)  # a prompt's last token, by all its completions
        return self.hidden(micro_batch.packing, read)[again]

    def hidden(self, packing: Packing, read: Tensor | None = None) -> Tensor:
        """Returns ``[N, d]`` of every token that is packed, or of those at ``read``."""
        trunk, blueprint = self.trunk, self.trunk.blueprint
        trunk.reach(packing.longest)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, again: Again | None = None) -> Tensor:
            scale, cap = blueprint.attention_scale, blueprint.attention_cap
            window, sinks = blueprint.layers[layer].window, blueprint.layers[layer].sinks
            return packed_attention(q, k, v, packing, scale, cap, window, again, trunk.pool, sinks)

        return trunk.hidden(packing.tokens, packing.positions, attend, read)


class PaddedBackbone(Backbone):
    """This backbone is transformers' forward pass, for any architecture."""

    tiled = False

    def __init__(self, trunk: Any, why: str) -> None:
        self.trunk, self.fallback_reason, self.parameters = trunk, why, _count([trunk])

    def shallow(self, pool: TileThreads) -> PaddedBackbone:
        """Returns all of it: what its blocks are is not known."""
        return self

    def on(self, model: Any) -> PaddedBackbone:
        """Returns a backbone of another model that is computed in the same way."""
        return PaddedBackbone(model.base_model, self.fallback_reason)

    def __call__(self, micro_batch: MicroBatch) -> Tensor:
        return self.trunk(input_ids=micro_batch.ids, use_cache=False).last_hidden_state[
            micro_batch.rows, micro_batch.places
        ]


def _count(modules: Iterable[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def backbone_of(model: Any, recompute: bool = False, pool: TileThreads | None = None, joined: bool = True) -> Backbone:
    """Returns the backbone of a causal LM, a sequence classifier or a bare trunk of transformers; ``pool``: whose
    threads compute; ``joined``: as of ``Trunk``.

    Raises UserError where ``recompute`` is asked of an architecture that is not known by its parts.
    """
    blueprint = blueprint_of(model)
    if not isinstance(blueprint, str):
        packed = PackedBackbone(Trunk(blueprint, PROBE, recompute, pool, joined))
        gap = _gap(packed, model.base_model)
        if gap < (1e-3 if blueprint.embedding.weight.dtype in (torch.float32, torch.float64) else 5e-2):
            return packed
        blueprint = f"hidden states of {model.config.model_type} differ by {gap:.1g} from the packed forward pass's"
    if recompute:
        raise UserError(f"{blueprint}, so its blocks can't be computed again one by one; expected checkpointing off")
    return PaddedBackbone(model.base_model, blueprint)


@torch.no_grad()
def _gap(packed: PackedBackbone, trunk: Any) -> float:
    """Returns how far both ways lie apart on a few tokens, as a share of the largest state."""
    embedding = trunk.get_input_embeddings().weight
    probe = [token % len(embedding) for token in range(3, PROBE + 3)]
    packing = Packing.of([(probe[:3], probe[3:])], embedding.device)
    expected = trunk(input_ids=packing.tokens[None], use_cache=False).last_hidden_state[0]
    return float((packed.hidden(packing) - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
