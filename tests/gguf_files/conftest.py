"""A transformers model as a GGUF file, written by the reference's writer under the reference's names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from groupwise.learners.new_model import CHAT_TEMPLATE, byte_tokenizer


@pytest.fixture(scope="session")
def write_gguf() -> Callable[..., Path]:
    """``write_gguf(path, model, architecture, ...)``."""
    pytest.importorskip("gguf")
    return write


def interleaved(weight: Any, heads: int) -> Any:
    """Rows of queries or keys as llama.cpp's converter orders them."""
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    )


def write(
    path: Path,
    model: Any,
    architecture: str,
    packed: str = "F32",
    values: Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    left_out: Sequence[str] = (),
) -> Path:
    """``values`` are further ones of the architecture; matrices are ``packed``."""
    import gguf

    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(model.model.layers[0].self_attn.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for name, value in (values or {}).items():
        add = {float: writer.add_float32, int: writer.add_uint32, str: writer.add_string}[type(value)]
        add(f"{architecture}.{name}", value)
    _add_tokenizer(writer, tokenizer or byte_tokenizer())
    known = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(known, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        stem, _, kind = name.rpartition(".")
        given = f"{names.get_name(stem)}.{kind}"
        if (name == "lm_head.weight" and config.tie_word_embeddings) or given in left_out:
            continue
        weight = tensor.float().numpy()
        if architecture == "llama" and (".q_proj" in name or ".k_proj" in name):
            weight = interleaved(weight, config.num_attention_heads if ".q_" in name else config.num_key_value_heads)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            weight = weight + 1
        add_tensor(writer, given, numpy.ascontiguousarray(weight), packed if weight.ndim > 1 else "F32")
    if architecture == "llama" and getattr(model.model.rotary_emb, "rope_type", "") == "llama3":
        theta = config.rope_parameters["rope_theta"]
        size = len(model.model.rotary_emb.inv_freq)
        plain = 1 / theta ** (numpy.arange(size) / size)
        writer.add_tensor("rope_freqs.weight", (plain / model.model.rotary_emb.inv_freq.numpy()).astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tensor(writer: Any, name: str, weight: Any, packed: str) -> None:
    from gguf import GGMLQuantizationType, quantize

    kind = GGMLQuantizationType[packed]
    writer.add_tensor(name, quantize(weight, kind), raw_dtype=kind)


def _add_tokenizer(writer: Any, tokenizer: Any) -> None:
    """A byte-level one."""
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {token["id"]: token for token in core["added_tokens"]}
    vocabulary = {**core["model"]["vocab"], **{token["content"]: number for number, token in added.items()}}
    ordered = sorted(vocabulary, key=lambda token: vocabulary[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(ordered)
    kinds = {True: 3, False: 4}
    writer.add_token_types(
        [kinds[added[number]["special"]] if number in added else 1 for number in range(len(ordered))]
    )
    merges = core["model"]["merges"]
    if merges:
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template or CHAT_TEMPLATE)
