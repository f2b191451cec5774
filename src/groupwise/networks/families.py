"""This module reads a blueprint off a transformers causal LM, for the families whose blocks are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from groupwise.networks.blueprint import UNTURNED, Blueprint, Latent, LayerParts
from groupwise.networks.context import stated_context

ROPES = ("default", "linear", "llama3", "yarn", "dynamic", "longrope")
"""Rotary scalings whose angles depend on the position alone, those of the last two within ``stated_context``."""
ACTIVATIONS: dict[str, Literal["silu", "gelu_tanh"]] = {
    **dict.fromkeys(("silu", "swish"), "silu"),
    **dict.fromkeys(("gelu_pytorch_tanh", "gelu_new", "gelu_fast"), "gelu_tanh"),
}


@dataclass(frozen=True)
class Family:
    """A family is what no config states: how its blocks differ from Llama's."""

    gemma: bool = False
    """The embedding is scaled by the root of the width, and norms multiply by 1 + weight."""
    centred: bool = False
    parallel: bool = False
    head_norms: Literal["head", "row", "turned"] = "head"
    pairs: Literal["halves", "neighbours"] = "halves"
    """Which of a head's numbers turn together."""
    alternating: bool = False
    turned_last: bool = False
    """What of a head is turned stands behind what is not."""
    angles_once: bool = False
    """Rope tables state each angle once."""
    ropes_by_kind: bool = False
    """Layers of each kind have a rope of their own."""
    turned: Literal["all", "sliding", "hybrid", "listed"] = "all"
    """Which layers have a rope: all; those with a window; those, or all where there is no window; those that the config
    lists."""


FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "seed_oss", "phi3", "granite", "ministral3"), Family()),
    **dict.fromkeys(("mixtral", "qwen3_moe"), Family()),
    **dict.fromkeys(("gemma", "gemma2"), Family(gemma=True)),
    "deepseek_v3": Family(pairs="neighbours", turned_last=True),
    "gpt_oss": Family(angles_once=True),
    "gemma3_text": Family(gemma=True, ropes_by_kind=True),
    "olmo2": Family(head_norms="row"),
    "olmo3": Family(head_norms="row", ropes_by_kind=True),
    "smollm3": Family(turned="listed"),
    "exaone4": Family(turned="hybrid"),
    "hunyuan_v1_dense": Family(head_norms="turned"),
    **dict.fromkeys(("ernie4_5", "glm", "glm4", "helium"), Family(pairs="neighbours")),
    "cohere": Family(centred=True, parallel=True, pairs="neighbours", alternating=True),
    "cohere2": Family(centred=True, parallel=True, pairs="neighbours", alternating=True, turned="sliding"),
    **dict.fromkeys(("gpt2", "starcoder2"), Family(centred=True)),
}
EPS = ("rms_norm_eps", "layer_norm_eps", "norm_epsilon", "layer_norm_epsilon")
"""Under which a config states the norms' constant."""
UNKNOWN = {
    "use_bidirectional_attention": "attention to later tokens",
    "scale_attn_by_inverse_layer_idx": "scores that every layer scales otherwise",
    "add_cross_attention": "attention to another text",
}
"""Options of configs -> what they ask for that is not known here."""


def blueprint_of(model: Any) -> Blueprint | str:
    """The parts of a causal LM (or of its trunk with another head), or why they are not all known here."""
    config, kind = model.config, model.config.model_type
    if kind not in FAMILIES:
        return f"architecture {kind} is none of {', '.join(FAMILIES)}"
    settings = _own_settings(config)
    try:
        why = _unknown(kind, settings) or _incomplete(model)
        return why or _Reading(model, FAMILIES[kind], settings).blueprint()
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # a stranger's numbers, of any kind
        return f"a setting of {kind} that is not understood ({type(error).__name__}: {error})"


def _own_settings(config: Any) -> dict[str, Any]:
    """Returns what a config says and its class knows: whatever else its file held, the model does not read."""
    known = type(config)().to_dict()
    return {name: value for name, value in config.to_dict().items() if name in known}


def _unknown(kind: str, settings: dict[str, Any]) -> str:
    """Says what of a model of a known family is not known; empty: nothing."""
    activation = _activation(settings)
    if activation not in ACTIVATIONS:
        return f"activation {activation} of {kind}"
    if FAMILIES[kind].centred and settings.get("use_qk_norm"):
        return f"{kind} with LayerNorms of heads"
    asked = [words for option, words in UNKNOWN.items() if settings.get(option)]
    if asked:
        return f"{kind} with {asked[0]}"
    scalings = settings.get("rope_parameters") or {}
    for scaling in scalings.values() if FAMILIES[kind].ropes_by_kind else [scalings]:
        # What stands beside the sets of the kinds is of none of them.
        if isinstance(scaling, dict) and (found := scaling.get("rope_type", "default")) not in ROPES:
            return f"rope scaling {found}"
    return ""


def _incomplete(model: Any) -> str:
    """Says what a model of a known family lacks; empty: nothing."""
    parts = dict(model.base_model.named_children())
    return "" if "layers" in parts or "h" in parts else f"a {model.config.model_type} whose blocks are not found"


def _activation(settings: dict[str, Any]) -> str:
    names = ("hidden_activation", "hidden_act", "activation_function")
    return next((settings[name] for name in names if settings.get(name)), "none")


class _Reading:
    """A model as it is read: its family, its settings, its trunk."""

    def __init__(self, model: Any, family: Family, settings: dict[str, Any]) -> None:
        self.model, self.family, self.settings = model, family, settings
        self.body: dict[str, Any] = dict(model.base_model.named_children())
        self.blocks = list(self.body["layers"] if "layers" in self.body else self.body["h"])
        self.kinds = _kinds(settings, len(self.blocks))

    def blueprint(self) -> Blueprint:
        family, settings, body = self.family, self.settings, self.body
        embedding = body["embed_tokens"] if "embed_tokens" in body else body["wte"]
        attention = _attention(self.blocks[0])
        rotary, heads = body.get("rotary_emb"), self.model.config.num_attention_heads
        latent = "kv_b_proj" in dict(attention.named_children())
        size = attention.qk_head_dim if latent else attention.head_dim
        return Blueprint(
            layers=tuple(self._layer(number) for number in range(len(self.blocks))),
            embedding=embedding,
            norm=body["norm"] if "norm" in body else body["ln_f"],
            head=self.model.get_output_embeddings(),
            rotary=rotary,
            ropes=self._ropes(),
            heads=heads,
            kv_heads=heads if latent else settings.get("num_key_value_heads") or heads,
            head_dim=size,
            eps=next(settings[name] for name in EPS if settings.get(name) is not None),
            attention_scale=attention.scaling,
            norm_offset=1.0 if family.gemma else 0.0,
            centred=family.centred,
            head_norms=family.head_norms,
            parallel=family.parallel,
            places=body.get("wpe"),
            order=self._order(rotary, size, embedding.weight),
            alternating=family.alternating,
            positions=stated_context(self.model),
            **self._numbers(embedding.weight),
        )

    def _numbers(self, weight: torch.Tensor) -> dict[str, Any]:
        """Scales and caps, and what stands between the matrices of the feed-forward."""
        settings, root = self.settings, torch.tensor(self.model.config.hidden_size**0.5)
        growth, clamp = settings.get("rope_parameters") or {}, settings.get("swiglu_limit")
        length = int(growth.get("original_max_position_embeddings") or 1)
        return {
            "embedding_scale": settings.get("embedding_multiplier")
            or (float(root.to(weight.dtype)) if self.family.gemma else 1.0),
            "attention_cap": settings.get("attn_logit_softcapping") or 0.0,
            "logit_cap": settings.get("final_logit_softcapping") or 0.0,
            "logit_scale": settings.get("logit_scale") or 1 / (settings.get("logits_scaling") or 1.0),
            "residual_scale": settings.get("residual_multiplier") or 1.0,
            "activation": "clamped" if clamp else ACTIVATIONS[_activation(settings)],
            "clamp": (settings["swiglu_alpha"], clamp) if clamp else (0.0, 0.0),
            "query_growth": (growth.get("llama_4_scaling_beta") or 0.0, length),
        }

    @torch.no_grad()
    def _order(self, rotary: Any, size: int, weight: torch.Tensor) -> tuple[int, ...]:
        """See ``Blueprint.order``. Numbers beyond those that are turned have angles of 0."""
        if rotary is None:
            return ()
        kinds = [kind for kind in self._ropes() if kind not in ("", UNTURNED)]
        turned = rotary(weight, torch.zeros(1, 1, dtype=torch.long, device=weight.device), *kinds[:1])[0].shape[-1]
        turned = 2 * turned if self.family.angles_once else turned
        half = turned // 2
        if self.family.pairs == "halves" and turned == size:
            return ()
        rest = (size - turned) // 2
        neighbours = self.family.pairs == "neighbours" and self.settings.get("rope_interleave", True)
        first = range(0, turned, 2) if neighbours else range(half)
        second = range(1, turned, 2) if neighbours else range(half, turned)
        order = (*first, *range(turned, turned + rest), *second, *range(turned + rest, size))
        return tuple((at - turned) % size for at in order) if self.family.turned_last else order

    def _ropes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._rope(number) for number in range(len(self.blocks))))

    def _rope(self, number: int) -> str:
        """The kind of a layer's rope."""
        kind, turned = self.kinds[number], self.family.turned
        sliding = kind == "sliding_attention"
        if turned == "listed":
            has = bool(self.settings["no_rope_layers"][number])  # 1: it has one
        else:
            has = turned == "all" or sliding or (turned == "hybrid" and self.settings["sliding_window"] is None)
        return UNTURNED if not has else kind if self.family.ropes_by_kind else ""

    def _layer(self, number: int) -> LayerParts:
        block, attention = self.blocks[number], _attention(self.blocks[number])
        norms, inner = dict(block.named_children()), dict(attention.named_children())
        mlp = dict(block.mlp.named_children())
        together = inner.get("qkv_proj") or inner.get("c_attn")
        mixture = block.mlp if "experts" in mlp else None
        mlp = dict(mlp["shared_experts"].named_children()) if "shared_experts" in mlp else {} if mixture else mlp
        latent = _latent(attention, inner) if "kv_b_proj" in inner else None
        # Norms more than Llama's: there post_attention_layernorm is what Llama's is not, a norm after the attention.
        own_after = "post_self_attn_layernorm" in norms  # GLM 4 says it by name
        around = "post_feedforward_layernorm" in norms
        after = norms.get("post_self_attn_layernorm" if own_after else "post_attention_layernorm" if around else "")
        before_mlp = norms.get("pre_feedforward_layernorm") or norms.get("ln_2")
        if before_mlp is None and (own_after or not around):
            before_mlp = norms.get("post_attention_layernorm")
        return LayerParts(
            q=together or inner.get("q_proj") or inner["q_b_proj"],
            k=None if together or latent else inner["k_proj"],
            v=None if together or latent else inner["v_proj"],
            o=inner.get("o_proj") or inner["c_proj"],
            gate=mlp.get("gate_proj") or mlp.get("gate_up_proj"),
            up=mlp.get("up_proj") or mlp.get("c_fc"),
            down=mlp.get("down_proj") or mlp.get("c_proj"),
            before_attention=norms.get("input_layernorm") or norms.get("ln_1"),
            after_attention=after,
            before_mlp=before_mlp,
            after_mlp=norms.get("post_feedforward_layernorm") or norms.get("post_mlp_layernorm"),
            q_norm=inner.get("q_norm") or inner.get("query_layernorm"),
            k_norm=inner.get("k_norm") or inner.get("key_layernorm"),
            mixture=mixture,
            read_sinks=(lambda: attention.sinks) if "sinks" in vars(attention)["_parameters"] else None,
            latent=latent,
            window=_window(self.settings) if self.kinds[number] == "sliding_attention" else 0,
            rope=self._ropes().index(self._rope(number)),
        )


def _latent(attention: Any, inner: dict[str, Any]) -> Latent:
    return Latent(
        q_in=inner.get("q_a_proj"),
        q_norm=inner.get("q_a_layernorm"),
        kv_in=inner["kv_a_proj_with_mqa"],
        kv_norm=inner["kv_a_layernorm"],
        kv_out=inner["kv_b_proj"],
        kv_size=attention.kv_lora_rank,
        unturned=attention.qk_nope_head_dim,
        value=attention.v_head_dim,
        eps=inner["kv_a_layernorm"].variance_epsilon,
    )


def _attention(block: Any) -> Any:
    children: dict[str, nn.Module] = dict(block.named_children())
    return children["self_attn"] if "self_attn" in children else children["attn"]


def _kinds(settings: dict[str, Any], layers: int) -> list[str]:
    """``full_attention`` or ``sliding_attention``, a layer each."""
    if settings.get("layer_types"):
        return list(settings["layer_types"])
    return ["sliding_attention" if settings.get("sliding_window") else "full_attention"] * layers


def _window(settings: dict[str, Any]) -> int:
    """0 where it is as wide as the context, or there is none."""
    window = settings.get("sliding_window")
    return int(window) if window and window < settings["max_position_embeddings"] else 0
