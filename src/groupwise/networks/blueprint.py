"""The parts of a transformers causal LM under one set of names, for forward passes of our own.

Nothing is copied: every module is the model's. What families differ in are numbers here, not branches elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")
ROPES = ("default", "linear", "llama3", "yarn")
"""Rotary scalings whose angles depend on the position alone."""
ACTIVATIONS: dict[str, Literal["silu", "gelu_tanh"]] = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


@dataclass(frozen=True)
class LayerParts:
    """These are the parts of one block: ``x += after_attention(o(attention(q, k, v of before_attention(x))))``, the
    feed-forward alike."""

    q: nn.Module
    k: nn.Module
    v: nn.Module
    o: nn.Module
    gate: nn.Module
    up: nn.Module
    down: nn.Module
    before_attention: nn.Module
    before_mlp: nn.Module
    after_attention: nn.Module | None = None
    """Norms on what a half block adds (Gemma 2 and 3)."""
    after_mlp: nn.Module | None = None
    q_norm: nn.Module | None = None
    """Norms of each head's query and key (Qwen 3, Gemma 3)."""
    k_norm: nn.Module | None = None
    window: int = 0
    """A token sees itself and the window - 1 before it; 0: all."""
    rope: int = 0
    """Which of ``Blueprint.tables`` turns its queries and keys."""


@dataclass(frozen=True)
class Blueprint:
    """A blueprint names the parts that lead from token ids to logits: ``logit_cap(head(norm(layers(embedding_scale ·
    embedding(ids)))))``."""

    layers: tuple[LayerParts, ...]
    embedding: nn.Embedding
    norm: nn.Module
    head: nn.Linear | None
    """None where the model's head is no matrix on hidden states: a scorer's trunk."""
    rotary: nn.Module
    ropes: tuple[str, ...]
    """The layer kind of each rope table, where the model has several; else one empty name."""
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    """Of every RMSNorm."""
    attention_scale: float
    embedding_scale: float = 1.0
    attention_cap: float = 0.0
    """Scores become cap · tanh(score / cap); 0: they stay."""
    logit_cap: float = 0.0
    activation: Literal["silu", "gelu_tanh"] = "silu"
    norm_offset: float = 0.0
    """Norms multiply by offset + weight."""

    @property
    def width(self) -> int:
        return self.embedding.embedding_dim

    @property
    def vocabulary(self) -> int:
        return self.embedding.num_embeddings if self.head is None else self.head.out_features

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the logits ``[N, V]`` of the last hidden states ``[N, d]``."""
        assert self.head is not None
        logits = self.head(hidden)
        return self.logit_cap * torch.tanh(logits / self.logit_cap) if self.logit_cap else logits

    @torch.no_grad()
    def tables(self, length: int) -> list[tuple[Tensor, Tensor]]:
        """Returns cos and sin ``[length, head_dim]`` of each rope, in the model's dtype; scalings are in them."""
        weight = self.embedding.weight
        positions = torch.arange(length, device=weight.device)[None]
        found = [self.rotary(weight, positions, *filter(None, [kind])) for kind in self.ropes]
        return [(cos[0], sin[0]) for cos, sin in found]


def blueprint_of(model: Any) -> Blueprint | str:
    """The parts of a causal LM (or of its trunk with another head), or why they are not all known here."""
    config = model.config
    kind = config.model_type
    if kind not in FAMILIES:
        return f"architecture {kind} is none of {', '.join(FAMILIES)}"
    settings = config.to_dict()
    gemma = kind.startswith("gemma")
    activation = settings.get("hidden_activation") or settings.get("hidden_act")
    if activation not in ACTIVATIONS:
        return f"activation {activation} of {kind}"
    if settings.get("use_bidirectional_attention"):
        return f"{kind} with attention to later tokens"
    kinds = _kinds(settings)
    ropes = tuple(dict.fromkeys(kinds)) if kind == "gemma3_text" else ("",)
    scalings = settings["rope_parameters"] or {}
    for rope in ropes:
        scaling = (scalings[rope] if rope else scalings).get("rope_type", "default")
        if scaling not in ROPES:
            return f"rope scaling {scaling}"
    body = model.base_model
    head = model.get_output_embeddings()
    return Blueprint(
        layers=tuple(_layer(block, settings, kinds[i], ropes) for i, block in enumerate(body.layers)),
        embedding=body.embed_tokens,
        norm=body.norm,
        head=head,
        rotary=body.rotary_emb,
        ropes=ropes,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=body.layers[0].self_attn.head_dim,
        eps=config.rms_norm_eps,
        attention_scale=body.layers[0].self_attn.scaling,
        embedding_scale=float(torch.tensor(config.hidden_size**0.5).to(body.embed_tokens.weight.dtype)) if gemma else 1,
        attention_cap=settings.get("attn_logit_softcapping") or 0.0,
        logit_cap=settings.get("final_logit_softcapping") or 0.0,
        activation=ACTIVATIONS[activation],
        norm_offset=1.0 if gemma else 0.0,
    )


@torch.no_grad()
def merged_weight(module: nn.Module) -> Tensor:
    """Returns the weight ``[outputs, inputs]`` of a linear layer, what adapters add to it included."""
    if isinstance(module, nn.Linear):
        return module.weight
    layer: Any = module  # peft's
    weight = layer.get_base_layer().weight
    if layer.disable_adapters:
        return weight
    return weight + sum(layer.get_delta_weight(name) for name in layer.active_adapters)


def bias_of(module: nn.Module) -> Tensor | None:
    """Returns the bias of a linear layer, with adapters or without."""
    layer: Any = module
    return (layer if isinstance(module, nn.Linear) else layer.get_base_layer()).bias


def _kinds(settings: dict[str, Any]) -> list[str]:
    """``full_attention`` or ``sliding_attention``, a layer each."""
    if settings.get("layer_types"):
        return list(settings["layer_types"])
    return ["sliding_attention" if settings.get("sliding_window") else "full_attention"] * settings["num_hidden_layers"]


def _layer(block: Any, settings: dict[str, Any], kind: str, ropes: tuple[str, ...]) -> LayerParts:
    attention, mlp = block.self_attn, block.mlp
    own = dict(block.named_children()) | dict(attention.named_children())
    # Two norms more than Llama: there post_attention_layernorm is what Llama's is not, a norm after the attention.
    around = "pre_feedforward_layernorm" in own
    return LayerParts(
        q=attention.q_proj,
        k=attention.k_proj,
        v=attention.v_proj,
        o=attention.o_proj,
        gate=mlp.gate_proj,
        up=mlp.up_proj,
        down=mlp.down_proj,
        before_attention=block.input_layernorm,
        after_attention=block.post_attention_layernorm if around else None,
        before_mlp=block.pre_feedforward_layernorm if around else block.post_attention_layernorm,
        after_mlp=block.post_feedforward_layernorm if around else None,
        q_norm=own.get("q_norm"),
        k_norm=own.get("k_norm"),
        window=_window(settings) if kind == "sliding_attention" else 0,
        rope=ropes.index(kind) if len(ropes) > 1 or ropes[0] else 0,
    )


def _window(settings: dict[str, Any]) -> int:
    """0 where it is as wide as the context."""
    window = int(settings["sliding_window"])
    return window if window < settings["max_position_embeddings"] else 0
