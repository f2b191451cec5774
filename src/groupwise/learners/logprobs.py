"""This module reads what a causal LM says of given tokens, a chunk of the vocabulary matrix at a time."""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from groupwise.algorithm import Outputs
from groupwise.kernels.tile_threads import TileThreads
from groupwise.learners.hidden_states import PackedBackbone, backbone_of
from groupwise.learners.micro_batch import MicroBatch, Support
from groupwise.learners.placement import ONE_PROCESS, Placement
from groupwise.learners.router_balance import RouterBalance
from groupwise.learners.token_logprobs import token_logprobs

CHUNK_ELEMENTS = 2**26  # of [tokens, vocabulary] logits that exist at once


class States(NamedTuple):
    """States predict each of N tokens, and know how to make logits of it."""

    hidden: Tensor  # [N, d]
    head: nn.Module
    cap: float = 0.0
    """Logits become cap · tanh(logit / cap); 0: they stay."""
    scale: float = 1.0
    """Logits are multiplied by it, before they are capped."""
    pool: TileThreads | None = None
    behind: Tensor | None = None  # [N, d]
    """The trunk's states, where ``hidden`` is logits already."""

    def part(self, place: slice) -> States:
        """Returns the states of some of the tokens."""
        return self._replace(hidden=self.hidden[place])

    @property
    def vocabulary(self) -> int:
        """Returns how many tokens there are to choose from."""
        if isinstance(self.head, nn.Identity):
            return self.hidden.shape[-1]
        return int(self.head.out_features)  # type: ignore[arg-type]

    @property
    def matrix(self) -> Tensor | None:
        """Returns ``[V, d]``, where logits are ``scale`` times this times the hidden state and nothing more."""
        bare = type(self.head) is nn.Linear and self.head.bias is None and not self.cap
        return self.head.weight if bare else None  # type: ignore[return-value]

    def table(self, temperature: float, inside: Tensor | None) -> Tensor:
        """Returns ``[N, V]`` log-probabilities, at least float32; -inf outside the support."""
        logits = self.head(self.hidden)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        logits = logits if self.scale == 1 else logits * self.scale
        logits = (self.cap * torch.tanh(logits / self.cap) if self.cap else logits) / temperature
        return torch.log_softmax(logits if inside is None else logits.masked_fill(~inside, -torch.inf), dim=-1)


class LanguageModel:
    """This maps a micro-batch to the ``States`` of a transformers causal LM.

    Where the architecture is known by its parts, or the head turns out to be a plain matrix (checked once against the
    model's own logits), logits of prompt tokens are never computed and large ones are recomputed in the backward pass
    instead of kept. ``recompute``: so are the blocks. ``pool``: whose threads compute. ``placement``: where the
    model's parameters lie. ``balance``, where there is one, hears each pass with gradient.
    """

    def __init__(
        self,
        model: Any,
        recompute: bool = False,
        pool: TileThreads | None = None,
        placement: Placement = ONE_PROCESS,
        balance: RouterBalance | None = None,
    ) -> None:
        self.model, self.recompute, self.pool, self.balance = model, recompute, pool, balance
        self.backbone = backbone_of(model, recompute, pool, placement)
        self.cap, self.scale = 0.0, 1.0
        if isinstance(self.backbone, PackedBackbone):
            self.cap, self.scale = self.backbone.trunk.blueprint.logit_cap, self.backbone.trunk.blueprint.logit_scale
        packed = isinstance(self.backbone, PackedBackbone)
        self.plain_head = packed or placement.run(model, lambda: _head_is_plain(model))
        placement.let_go(model)

    @torch.no_grad()
    def width(self) -> int:
        """Returns the width of the states behind the logits; 0 where they can't be reached."""
        head = self.model.get_output_embeddings()
        if self.plain_head:
            return int(head.weight.shape[1])
        if self.model.base_model is self.model:
            return 0
        probe = torch.zeros((1, 1), dtype=torch.long, device=next(self.model.parameters()).device)
        return int(self.model.base_model(input_ids=probe, use_cache=False)[0].shape[-1])

    def shallow(self, pool: TileThreads) -> LanguageModel:
        """Returns as few blocks as can be had under the same head: to try how fast a step is, not to ask for
        numbers."""
        other = copy(self)
        other.pool, other.backbone, other.balance = pool, self.backbone.shallow(pool), None
        return other

    def on(self, model: Any) -> LanguageModel:
        """Returns the same on another model of its architecture."""
        other = copy(self)
        other.model, other.backbone, other.balance = model, self.backbone.on(model), None
        return other

    def __call__(self, micro_batch: MicroBatch) -> States:
        if self.balance is None or not torch.is_grad_enabled():
            return self._states(micro_batch)
        with self.balance.hearing(micro_batch, packed=isinstance(self.backbone, PackedBackbone)):
            return self._states(micro_batch)

    def _states(self, micro_batch: MicroBatch) -> States:
        if self.plain_head:
            head = self.model.get_output_embeddings()
            if self.balance is not None and isinstance(self.backbone, PackedBackbone):
                hidden = self.backbone.hidden(micro_batch.packing)[micro_batch.where]  # every token has a router's word
            else:
                hidden = self.backbone(micro_batch)
            return States(hidden, head, self.cap, self.scale, self.pool)
        behind: list[Tensor] = []
        trunk = self.model.base_model
        listening = trunk.register_forward_hook(lambda module, given, said: behind.append(said[0]))
        try:
            logits = self.model(input_ids=micro_batch.ids, use_cache=False).logits
        finally:
            listening.remove()
        rows, places = micro_batch.rows, micro_batch.places
        states = behind[-1][rows, places] if trunk is not self.model and behind else None
        return States(logits[rows, places], nn.Identity(), behind=states)


def token_outputs(
    policy: States,
    micro_batch: MicroBatch,
    temperature: float,
    reference: States | None = None,
    entropy_gradient: bool = False,
) -> Outputs:
    """Returns ``[B, T]`` log-probabilities, entropy and, with a ``reference``, KL(π_θ‖π_ref) in nats; 0 where the mask
    is 0.

    All of the distribution at ``temperature``, renormalised over the support where a token has one. Entropy is a metric
    and carries a gradient only where asked to.
    """
    matrix = policy.matrix
    if matrix is not None and reference is None and micro_batch.support is None and not entropy_gradient:
        found = token_logprobs(policy.hidden, matrix, micro_batch.targets, temperature / policy.scale, policy.pool)
        return Outputs(*map(micro_batch.spread, found))
    read = partial(_read, temperature=temperature, entropy_gradient=entropy_gradient)
    size = max(1, CHUNK_ELEMENTS // policy.vocabulary)
    if len(micro_batch.targets) > size:
        read = partial(checkpoint, read, use_reentrant=False, preserve_rng_state=False)
    places = [slice(start, start + size) for start in range(0, len(micro_batch.targets) or 1, size)]
    parts = [
        read(
            policy.part(place),
            reference and reference.part(place),
            micro_batch.support and micro_batch.support.part(place),
            micro_batch.targets[place],
        )
        for place in places
    ]
    columns = [micro_batch.spread(torch.cat(column)) for column in zip(*parts, strict=True)]
    return Outputs(columns[0], entropy=columns[1], exact_kl=columns[2] if reference else None)


def _read(
    policy: States,
    reference: States | None,
    support: Support | None,
    targets: Tensor,
    temperature: float,
    entropy_gradient: bool,
) -> tuple[Tensor, ...]:
    """Returns log-probabilities and entropy, and KL where there is a reference, ``[N]`` each."""
    inside = support.inside(policy.vocabulary, targets.device) if support else None
    table = policy.table(temperature, inside)
    logprobs = table.gather(1, targets[:, None]).squeeze(1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropy = -_expectation(table, table, inside)
    if reference is None:
        return logprobs, entropy
    with torch.no_grad():
        other = reference.table(temperature, inside)
    return logprobs, entropy, _expectation(table, table - other, inside)


def _expectation(table: Tensor, values: Tensor, inside: Tensor | None) -> Tensor:
    """Returns ``[N]`` Σ_v p_v · values_v. Outside the support 0 · inf is taken to be 0, in value and in gradient."""
    return (table.exp() * (values if inside is None else values.masked_fill(~inside, 0.0))).sum(dim=-1)


@torch.no_grad()
def _head_is_plain(model: Any) -> bool:
    """Says whether logits are exactly the output embedding of the base model's last hidden state.

    Some architectures scale or cap their logits; believing otherwise would give silently wrong numbers. The probe makes
    logits large, since a cap hardly touches those of a model with fresh weights.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or model.base_model is model:
        return False
    probe = torch.arange(8, device=head.weight.device)[None] % head.weight.shape[0]
    hidden = model.base_model(input_ids=probe, use_cache=False).last_hidden_state
    enlarged = head.register_forward_hook(lambda module, inputs, logits: logits * 1000)
    try:
        return torch.allclose(head(hidden), model(input_ids=probe, use_cache=False).logits, rtol=1e-4, atol=1e-5)
    finally:
        enlarged.remove()
