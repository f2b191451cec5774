"""Families of models under GGUF's names: their transformers config, and where each tensor belongs.

What llama.cpp's converter changes is undone here: queries and keys of Llama with their halves interleaved, norms of
Gemma with 1 added. Numbers that no GGUF file states (Gemma 2's and 3's scale of attention) are those of llama.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.gguf_files.reading import GgufFile

PLAIN = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""GGUF's name without ``blk.N.`` -> that of transformers without ``model.layers.N.``."""
AROUND = PLAIN | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
"""The same of Gemma 2 and 3, with norms before and after each half of a block."""
ROPE_FACTORS = "rope_freqs.weight"
"""Llama 3.1's slowing of each frequency, which transformers computes from four numbers."""
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


@dataclass(frozen=True)
class Family:
    """A family is what is known of one ``general.architecture``."""

    config: str
    """The class of its config in transformers."""
    model: str
    """The class of its causal language model."""
    own: Callable[[GgufFile], dict[str, Any]]
    """Of the config, what is not the same in every family."""
    names: Mapping[str, str]
    interleaved: bool = False
    """Whether queries and keys are in llama.cpp's order of a rotary's halves."""
    norms_add_one: bool = False


def config_of(file: GgufFile) -> Any:
    """Makes the model's transformers config. Raises UserError for an architecture, or a way of one, that is not
    known."""
    import transformers

    family = family_of(file)
    if file.of_model("expert_count"):
        raise UserError(f"{file.path}: a mixture of experts ({file.architecture}); expected a dense model")
    heads, width = file.count("attention.head_count"), file.count("embedding_length")
    rows = file.shapes.get("token_embd.weight", (len(file.values.get("tokenizer.ggml.tokens", ())),))[0]
    ids = {
        f"{name}_token_id": file.values.get(f"tokenizer.ggml.{key}_token_id")
        for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    said = {
        "vocab_size": int(rows),
        "hidden_size": width,
        "intermediate_size": file.count("feed_forward_length"),
        "num_hidden_layers": _blocks(file),
        "num_attention_heads": heads,
        "num_key_value_heads": file.count("attention.head_count_kv", heads),
        "head_dim": file.count("attention.key_length", file.of_model("rope.dimension_count", width // heads)),
        "max_position_embeddings": file.count("context_length"),
        "rms_norm_eps": file.number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in file.shapes,
        "architectures": [family.model],
        **{name: None if value is None else int(value) for name, value in ids.items()},
    }
    return getattr(transformers, family.config)(**{**said, **family.own(file)})


def _blocks(file: GgufFile) -> int:
    """Returns how many there are. Raises UserError where the last one has no tensors: a model of so many would be made
    to compare it with the file."""
    blocks = file.count("block_count")
    if not any(name.startswith(f"blk.{blocks - 1}.") for name in file.shapes):
        raise UserError(f"{file.path}: says {blocks:,} blocks, and the last has no tensor; fetch it again")
    return blocks


def family_of(file: GgufFile) -> Family:
    """Looks up the file's architecture. Raises UserError for one that is not known."""
    family = FAMILIES.get(file.architecture)
    if family is None:
        raise UserError(
            f"{file.path}: a GGUF of architecture {file.architecture}; expected {', '.join(FAMILIES)}, or the "
            "safetensors that it was made of"
        )
    return family


def place_of(family: Family, name: str) -> str | None:
    """Returns the name that transformers gives a tensor; None: it has none."""
    stem, _, kind = name.rpartition(".")
    layer, rest = "", stem
    if stem.startswith("blk."):
        layer, _, rest = stem.removeprefix("blk.").partition(".")
    place = family.names.get(rest)
    if place is None or kind not in ("weight", "bias"):
        return None
    return f"model.layers.{layer}.{place}.{kind}" if layer else f"{place}.{kind}"


def undone(family: Family, name: str, tensor: Any, config: Any) -> Any:
    """Returns the tensor as transformers has it. ``name`` is GGUF's."""
    if family.interleaved and (".attn_q." in name or ".attn_k." in name):
        heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
        pairs = tensor.reshape(heads, tensor.shape[0] // heads // 2, 2, *tensor.shape[1:])
        return pairs.swapaxes(1, 2).reshape(tensor.shape).contiguous()
    return tensor - 1 if family.norms_add_one and name.endswith("norm.weight") else tensor


def _llama(file: GgufFile) -> dict[str, Any]:
    own = {"rope_parameters": _rope(file), "attention_bias": "blk.0.attn_q.bias" in file.shapes}
    if ROPE_FACTORS in file.shapes:
        own["rope_parameters"] = _llama3_rope(file)
    return own | {"mlp_bias": "blk.0.ffn_up.bias" in file.shapes}


def _qwen(file: GgufFile) -> dict[str, Any]:
    return {"rope_parameters": _rope(file)}


def _gemma(file: GgufFile) -> dict[str, Any]:
    return {"rope_parameters": _rope(file), "hidden_activation": "gelu_pytorch_tanh"}


def _gemma2(file: GgufFile) -> dict[str, Any]:
    own = {
        "attn_logit_softcapping": file.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": file.number("final_logit_softcapping", 30.0),
    }
    return own | _gemma(file) | _windows(file, 2) | {"query_pre_attn_scalar": _scalar(file, 46)}


def _gemma3(file: GgufFile) -> dict[str, Any]:
    local = {"rope_type": "default", "rope_theta": file.number("rope.freq_base_swa", 10_000.0)}
    ropes = {"full_attention": _rope(file, 1_000_000.0), "sliding_attention": local}
    own = {"rope_parameters": ropes, "query_pre_attn_scalar": _scalar(file, 62)}
    cap = file.of_model("final_logit_softcapping")
    return _gemma(file) | _windows(file, 6) | own | ({"final_logit_softcapping": float(cap)} if cap else {})


def _windows(file: GgufFile, pattern: int) -> dict[str, Any]:
    """Says which layers see all: every ``pattern``-th one does, the others a window."""
    kinds = [
        "full_attention" if layer % pattern == pattern - 1 else "sliding_attention"
        for layer in range(file.count("block_count"))
    ]
    return {"sliding_window": file.count("attention.sliding_window", 4096), "layer_types": kinds}


def _scalar(file: GgufFile, largest: int) -> int:
    """Returns what queries are divided by the root of: a head's width, and in the family's largest model, of so many
    layers, the model's width over its heads."""
    heads = file.count("attention.head_count")
    if file.count("block_count") == largest:
        return file.count("embedding_length") // heads
    return file.count("attention.key_length", file.count("embedding_length") // heads)


def _rope(file: GgufFile, base: float = 10_000.0) -> dict[str, Any]:
    theta, kind = file.number("rope.freq_base", base), file.of_model("rope.scaling.type", "none")
    if kind == "none":
        return {"rope_type": "default", "rope_theta": theta}
    if kind not in ("linear", "yarn"):
        raise UserError(f"{file.path}: rope scaling {kind}; expected none, linear or yarn")
    found = {"rope_type": kind, "rope_theta": theta, "factor": file.number("rope.scaling.factor")}
    if kind == "yarn":
        found["original_max_position_embeddings"] = file.count("rope.scaling.original_context_length")
    return found


def _llama3_rope(file: GgufFile) -> dict[str, Any]:
    """Finds the four numbers that give the file's factors. Raises UserError where the usual ones do not."""
    import torch

    factors = next(tensor for name, tensor in file.tensors() if name == ROPE_FACTORS).double()
    theta, original = file.number("rope.freq_base", 10_000.0), file.count("rope.scaling.original_context_length", 8192)
    said = {**LLAMA3, "factor": round(float(factors.max()), 4), "original_max_position_embeddings": original}
    lengths = 2 * math.pi * theta ** (torch.arange(len(factors), dtype=torch.float64) / len(factors))
    smooth = (original / lengths - said["low_freq_factor"]) / (said["high_freq_factor"] - said["low_freq_factor"])
    smooth = smooth.clamp(0, 1)
    expected = 1 / ((1 - smooth) / said["factor"] + smooth)
    if not torch.allclose(expected, factors, rtol=1e-4):
        raise UserError(f"{file.path}: {ROPE_FACTORS} holds other factors than those of Llama 3; expected these")
    return {"rope_type": "llama3", "rope_theta": theta, **said}


FAMILIES = {
    "llama": Family("LlamaConfig", "LlamaForCausalLM", _llama, PLAIN, interleaved=True),
    "qwen2": Family("Qwen2Config", "Qwen2ForCausalLM", _qwen, PLAIN),
    "qwen3": Family("Qwen3Config", "Qwen3ForCausalLM", _qwen, PLAIN),
    "gemma": Family("GemmaConfig", "GemmaForCausalLM", _gemma, PLAIN, norms_add_one=True),
    "gemma2": Family("Gemma2Config", "Gemma2ForCausalLM", _gemma2, AROUND, norms_add_one=True),
    "gemma3": Family("Gemma3TextConfig", "Gemma3ForCausalLM", _gemma3, AROUND, norms_add_one=True),
}
"""By ``general.architecture``."""
