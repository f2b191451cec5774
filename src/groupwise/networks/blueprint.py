"""The parts of a transformers causal LM under one set of names, for forward passes of our own.

Nothing is copied: every module is the model's. What families differ in are numbers and modules here, not branches
elsewhere. ``networks/families.py`` reads them off a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

UNTURNED = "none"
"""The kind of a rope that turns nothing."""


@dataclass(frozen=True)
class Latent:
    """Queries, keys and values are made by way of few numbers (arXiv 2405.04434). ``LayerParts.q`` makes queries of
    theirs."""

    q_in: nn.Module | None
    """None: queries are made of hidden states."""
    q_norm: nn.Module | None
    kv_in: nn.Module
    """Of keys and values, and behind them what of every head's key is turned."""
    kv_norm: nn.Module
    kv_out: nn.Module
    """Of each head what of its key is not turned, then its value."""
    kv_size: int
    unturned: int
    value: int
    eps: float


@dataclass(frozen=True)
class LayerParts:
    """These are the parts of one block: ``x += after_attention(o(attention(q, k, v of before_attention(x))))``, the
    feed-forward alike."""

    q: nn.Module
    """Where ``k`` and ``v`` are None: of all three, one after the other."""
    k: nn.Module | None
    v: nn.Module | None
    o: nn.Module
    gate: nn.Module | None
    """Where ``up`` is None: of both, one after the other. None: ``down(active(up))`` has no gate."""
    up: nn.Module | None
    down: nn.Module | None
    """None: ``mixture`` stands where the feed-forward's layers do; beside one, gate, up and down are the expert that
    every token has."""
    before_attention: nn.Module | None
    """None: nothing is normed before (OLMo 2)."""
    before_mlp: nn.Module | None
    after_attention: nn.Module | None = None
    """Norms on what a half block adds (Gemma 2 and 3)."""
    after_mlp: nn.Module | None = None
    q_norm: nn.Module | None = None
    """Norms of queries and keys (Qwen 3, Gemma 3)."""
    k_norm: nn.Module | None = None
    mixture: nn.Module | None = None
    """Router and experts, as transformers computes them."""
    latent: Latent | None = None
    """What is made between hidden states and queries, keys and values (DeepSeek-V3)."""
    read_sinks: Callable[[], nn.Parameter] | None = None
    """Gives ``sinks`` as they are now: where processes share them, they are whole only while the block computes."""
    window: int = 0
    """A token sees itself and the window - 1 before it; 0: all."""
    rope: int = 0
    """Which of ``Blueprint.tables`` turns its queries and keys."""

    @property
    def sinks(self) -> nn.Parameter | None:
        """Of each head a score that takes weight from what is seen, and gives nothing (gpt-oss)."""
        return self.read_sinks() if self.read_sinks else None

    @property
    def inward(self) -> list[nn.Module]:
        """The layers of queries, keys and values."""
        return [module for module in (self.q, self.k, self.v) if module is not None]

    @property
    def gate_up(self) -> list[nn.Module]:
        """The layers of gate and up."""
        return [module for module in (self.gate, self.up) if module is not None]


@dataclass(frozen=True)
class Blueprint:
    """A blueprint names the parts that lead from token ids to logits: ``logit_cap(logit_scale · head(norm(layers(
    embedding_scale · embedding(ids)))))``."""

    layers: tuple[LayerParts, ...]
    embedding: nn.Embedding
    norm: nn.Module
    head: nn.Linear | None
    """None where the model's head is no matrix on hidden states: a scorer's trunk."""
    rotary: nn.Module | None
    ropes: tuple[str, ...]
    """The layer kind of each rope table, where the model has several; else one empty name."""
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    """Of every norm."""
    attention_scale: float
    embedding_scale: float = 1.0
    attention_cap: float = 0.0
    """Scores become cap · tanh(score / cap); 0: they stay."""
    logit_cap: float = 0.0
    logit_scale: float = 1.0
    residual_scale: float = 1.0
    """What a half block adds is multiplied by it."""
    activation: Literal["silu", "gelu_tanh", "clamped"] = "silu"
    clamp: tuple[float, float] = (0.0, 0.0)
    """α and limit of ``clamped``: gate · sigmoid(α gate) · (up + 1) of gate and up within the limit."""
    norm_offset: float = 0.0
    """Norms multiply by offset + weight."""
    centred: bool = False
    """Norms take the mean away first (LayerNorm), and may have a bias."""
    head_norms: Literal["head", "row", "turned"] = "head"
    """q_norm and k_norm are of each head, of all heads together, or of each head after it was turned."""
    parallel: bool = False
    """The feed-forward reads what attention reads, and both are added."""
    places: nn.Embedding | None = None
    """Learned positions, added to the embedding."""
    order: tuple[int, ...] = ()
    """The order of a head's numbers in which those that turn together are half a head apart; empty: their own."""
    alternating: bool = False
    """Rope tables of the model state each angle twice in turn; else all angles, and all again."""
    query_growth: tuple[float, int] = (0.0, 1)
    """β and length: queries are multiplied by 1 + β log(1 + ⌊position / length⌋)."""
    positions: int = 1 << 30
    """From so many on, angles are not asked for: some ropes turn all positions otherwise once there are more."""

    @property
    def width(self) -> int:
        """Returns the width of hidden states."""
        return self.embedding.embedding_dim

    @property
    def vocabulary(self) -> int:
        """Returns how many tokens there are."""
        return self.embedding.num_embeddings if self.head is None else self.head.out_features

    @property
    def is_llamas(self) -> bool:
        """Says whether blocks are Llama's, but for numbers, and norms more than Llama has."""
        more = any(layer.sinks is not None or layer.latent or layer.mixture for layer in self.layers)
        plain = (self.centred, self.parallel, self.places, self.order, self.query_growth[0])
        whole = all(layer.before_attention and layer.before_mlp and layer.gate and layer.down for layer in self.layers)
        return whole and not more and not any(plain) and self.residual_scale == 1 and self.head_norms == "head"

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the logits ``[N, V]`` of the last hidden states ``[N, d]``."""
        assert self.head is not None
        logits = self.head(hidden)
        logits = logits if self.logit_scale == 1 else logits * self.logit_scale
        return self.logit_cap * torch.tanh(logits / self.logit_cap) if self.logit_cap else logits

    @torch.no_grad()
    def tables(self, length: int) -> list[tuple[Tensor, Tensor]]:
        """Returns cos and sin ``[length, head_dim]`` of each rope, in the model's dtype; scalings are in them, and
        heads are in ``order``."""
        return [self._table(kind, length) for kind in self.ropes]

    def _table(self, kind: str, length: int) -> tuple[Tensor, Tensor]:
        weight = self.embedding.weight
        if kind == UNTURNED or self.rotary is None:
            sizes: Any = {"size": (length, self.head_dim), "dtype": weight.dtype, "device": weight.device}
            return torch.ones(**sizes), torch.zeros(**sizes)  # of its kind, but whole where the weight is in parts
        positions = torch.arange(length, device=weight.device)[None].clamp(max=self.positions - 1)
        cos, sin = (table[0].to(weight.dtype) for table in self.rotary(weight, positions, *filter(None, [kind])))
        if cos.shape[1] * 2 == self.head_dim and not self.order:  # each angle once
            return torch.cat((cos, cos), dim=1), torch.cat((sin, sin), dim=1)
        if not self.order:
            return cos, sin
        rest = self.head_dim // 2 - cos.shape[1] // 2
        found = []
        for table, fill in ((cos, 1.0), (sin, 0.0)):
            angles = table[:, ::2] if self.alternating else table[:, : table.shape[1] // 2]
            half = torch.cat((angles, angles.new_full((length, rest), fill)), dim=1)
            found.append(torch.cat((half, half), dim=1))
        return found[0], found[1]

    @torch.no_grad()
    def query_scales(self, positions: Tensor) -> Tensor | None:
        """Returns what queries at ``positions`` are multiplied by; None: nothing."""
        growth, length = self.query_growth
        return 1 + growth * torch.log(1 + torch.floor(positions / length)) if growth else None


@torch.no_grad()
def merged_weight(module: nn.Module) -> Tensor:
    """Returns the weight ``[outputs, inputs]`` of a linear layer, what adapters add to it included."""
    if isinstance(module, nn.Linear):
        return module.weight
    layer: Any = module
    if _inputs_first(layer):
        return layer.weight.T  # type: ignore[no-any-return]
    base = layer.get_base_layer()  # peft's
    weight = base.weight
    if not layer.disable_adapters:
        weight = weight + sum(layer.get_delta_weight(name) for name in layer.active_adapters)
    return weight.T if _inputs_first(base) else weight


def bias_of(module: nn.Module) -> Tensor | None:
    """Returns the bias of a linear layer, with adapters or without."""
    layer: Any = module
    return (layer if isinstance(module, nn.Linear) or _inputs_first(layer) else layer.get_base_layer()).bias


def _inputs_first(module: nn.Module) -> bool:
    """Says whether its weight is ``[inputs, outputs]``: transformers' Conv1D, known by name, so that nothing is
    imported."""
    return type(module).__name__ == "Conv1D"
