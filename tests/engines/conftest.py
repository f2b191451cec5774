"""Small models with random weights of several architectures, their logits far from uniform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.15,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, grouped queries, tied head": ("Llama", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "llama, biases everywhere": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, llama3 rope": ("Llama", {"rope_parameters": LLAMA3, "num_key_value_heads": 1}),
    "llama, yarn rope": ("Llama", {"rope_parameters": YARN}),
    "mistral": ("Mistral", {"sliding_window": None, "num_key_value_heads": 2, "head_dim": 16}),
    "qwen2": ("Qwen2", {"num_key_value_heads": 2}),
    "qwen2, tied head": ("Qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"num_key_value_heads": 2, "head_dim": 16}),
    "qwen3, tied head, yarn rope": (
        "Qwen3",
        {"num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": True, "rope_parameters": YARN},
    ),
    "qwen3, narrow heads": ("Qwen3", {"num_key_value_heads": 2, "head_dim": 10}),
    "mistral, window": ("Mistral", {"sliding_window": 7, "num_key_value_heads": 2}),
    "gemma": ("Gemma", {"num_key_value_heads": 1, "head_dim": 24, "hidden_size": 40, "initializer_range": 0.1}),
    "gemma3_text": (
        "Gemma3",
        {
            "num_key_value_heads": 2,
            "head_dim": 8,
            "query_pre_attn_scalar": 11,
            "initializer_range": 0.1,
            "sliding_window": 6,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "gpt_neox": ("GPTNeoX", {}),
    "gemma2": (
        "Gemma2",
        {
            "num_key_value_heads": 2,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "final_logit_softcapping": 2.0,
            "attn_logit_softcapping": 3.0,
            "initializer_range": 0.1,
        },
    ),
}
VARIANTS["gemma2, window"] = ("Gemma2", VARIANTS["gemma2"][1] | {"sliding_window": 5})

MakeModel = Callable[[str], Any]


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """``make_model(name of VARIANTS)``: a causal LM in evaluation mode."""

    def make(name: str) -> Any:
        family, options = VARIANTS[name]
        config = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config")(
            **(SIZES | options)
        )
        torch.manual_seed(3)
        model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):  # otherwise 1 and 0, which hide mistakes
                torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.2)
        return model

    return make
