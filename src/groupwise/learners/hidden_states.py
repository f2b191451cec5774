"""This module computes the hidden states of a micro-batch: by a packed forward pass where the architecture is known,
else by transformers' own."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from groupwise.errors import UserError
from groupwise.kernels.tile_threads import TileThreads
from groupwise.learners.blame import of_transport
from groupwise.learners.micro_batch import MicroBatch
from groupwise.learners.placement import ONE_PROCESS, Placement
from groupwise.networks import blueprint_of
from groupwise.networks.attention import packed_attention
from groupwise.networks.fused_blocks import Again
from groupwise.networks.packing import Packing
from groupwise.networks.trunk import Trunk

if TYPE_CHECKING:
    from groupwise.learners.context_group import ContextGroup

PROBE = 8  # tokens
EXACT, ROUNDED = 1e-3, 5e-2
"""Of the largest state, how far the packed forward pass may lie from transformers': in float32, and in less."""


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
        """Returns a backbone of the first block alone, on the same parameters."""
        trunk, first = self.trunk, replace(self.trunk.blueprint, layers=self.trunk.blueprint.layers[:1])
        return PackedBackbone(Trunk(first, PROBE, trunk.recompute, pool))

    def on(self, model: Any) -> PackedBackbone:
        """Returns a backbone of another model that is computed in the same way."""
        blueprint = blueprint_of(model)
        assert not isinstance(blueprint, str)
        return PackedBackbone(Trunk(blueprint, PROBE, self.trunk.recompute, self.trunk.pool))

    def __call__(self, micro_batch: MicroBatch) -> Tensor:
        read, again = micro_batch.where.unique(return_inverse=True)  # a prompt's last token, by all its completions
        return self.hidden(micro_batch.packing, read, micro_batch.context)[again]

    def hidden(self, packing: Packing, read: Tensor | None = None, context: ContextGroup | None = None) -> Tensor:
        """Returns ``[N, d]`` of every token that is packed, or of those at ``read``; of ``context`` this process's."""
        trunk, blueprint = self.trunk, self.trunk.blueprint
        trunk.reach(packing.longest)
        tokens, positions = packing.tokens, packing.positions

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, again: Again | None = None) -> Tensor:
            scale, cap = blueprint.attention_scale, blueprint.attention_cap
            window, every = blueprint.layers[layer].window, blueprint.layers[layer].sinks
            sinks = every if every is None or context is None else every[context.own(len(every))]
            return packed_attention(q, k, v, packing, scale, cap, window, again, trunk.pool, sinks)

        if context is None:
            return trunk.hidden(tokens, positions, attend, read)
        here = context.own(len(tokens))
        read = None if read is None else read - here.start
        return trunk.hidden(tokens[here], positions[here], context.around(attend, len(tokens)), read)


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


def backbone_of(
    model: Any, recompute: bool = False, pool: TileThreads | None = None, placement: Placement = ONE_PROCESS
) -> Backbone:
    """Returns the backbone of a causal LM, a sequence classifier or a bare trunk of transformers; ``pool``: whose
    threads compute; ``placement``: where the model's parameters lie.

    Raises UserError where ``recompute`` is asked of an architecture that is not known by its parts.
    """
    blueprint = blueprint_of(model)
    if not isinstance(blueprint, str):
        packed = PackedBackbone(Trunk(blueprint, PROBE, recompute, pool, joined=placement.count == 1))
        placement.compute_in_parts(model, packed)
        gap = placement.run(model, lambda: _gap(packed, model.base_model))
        placement.let_go(model)
        most = EXACT if blueprint.embedding.weight.dtype in (torch.float32, torch.float64) else ROUNDED
        if gap >= most and _is_half(model.base_model):
            gap, most = _gap_in_float32(packed, model.base_model), EXACT
        if gap < most:
            return packed
        blueprint = f"hidden states of {model.config.model_type} differ by {gap:.1g} from the packed forward pass's"
    if recompute:
        raise UserError(f"{blueprint}, so its blocks can't be computed again one by one; expected checkpointing off")
    return PaddedBackbone(model.base_model, blueprint)


def _is_half(trunk: Any) -> bool:
    """Says whether there are weights in bfloat16, and all of them lie whole in this machine's memory."""
    parameters = list(trunk.parameters())
    whole = all(type(each.data) is Tensor and each.device.type == "cpu" for each in parameters)
    return whole and any(each.dtype == torch.bfloat16 for each in parameters)


@torch.no_grad()
def _gap(packed: PackedBackbone, trunk: Any) -> float:
    """Returns how far both ways lie apart on a few tokens, as a share of the largest state."""
    embedding = trunk.get_input_embeddings().weight
    probe = [token % len(embedding) for token in range(3, PROBE + 3)]
    packing = Packing.of([(probe[:3], probe[3:])], embedding.device)
    try:
        expected = trunk(input_ids=packing.tokens[None], use_cache=False).last_hidden_state[0]
    except (IndexError, RuntimeError, TypeError, ValueError) as error:  # transformers' own: settings at odds
        if of_transport(error):  # another process was lost meanwhile
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(f"{type(trunk).__name__} does not go forward with its config.json: {reason}") from error
    return float((packed.hidden(packing) - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


def _gap_in_float32(packed: PackedBackbone, trunk: Any) -> float:
    """The same of a copy in float32: what rounding does to a router's choices is as large as a mistake's. It takes
    twice the model's memory, so it is made only for a model that is far off without it."""
    wide = copy.deepcopy(trunk).float()
    return _gap(packed.on(wide), wide)
