"""Models that the reference's writer wrote as GGUF say what they said before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from groupwise.errors import UserError
from groupwise.gguf_files.directory import convert
from groupwise.learners import Local

Write = Callable[..., Path]
ROPE = {"rope_type": "default", "rope_theta": 50_000.0}
GEMMA = {"head_dim": 8, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 8, "sliding_window": 5}
GEMMA3_ROPES = {
    "full_attention": {"rope_type": "linear", "rope_theta": 70_000.0, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
YARN = {"rope_type": "yarn", "rope_theta": 50_000.0, "factor": 4.0, "original_max_position_embeddings": 32}
THETA: dict[str, Any] = {"rope.freq_base": 50_000.0}
YARN_SAID = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
FAMILIES: list[tuple[str, str, str, dict[str, Any], dict[str, Any]]] = [
    ("tied", "llama", "Llama", {"rope_parameters": ROPE, "tie_word_embeddings": True}, THETA),
    ("head", "llama", "Llama", {"rope_parameters": ROPE, "tie_word_embeddings": False, "attention_bias": True}, THETA),
    ("wide", "llama", "Llama", {"rope_parameters": ROPE, "head_dim": 16, "num_key_value_heads": 4}, THETA),
    ("llama3", "llama", "Llama", {"rope_parameters": {**ROPE, **LLAMA3, "rope_type": "llama3", "factor": 8.0}}, THETA),
    ("linear", "llama", "Llama", {"rope_parameters": {**ROPE, "rope_type": "linear", "factor": 2.0}}, {
        **THETA, "rope.scaling.type": "linear", "rope.scaling.factor": 2.0
    }),
    ("plain", "qwen2", "Qwen2", {"rope_parameters": ROPE}, THETA),
    ("plain", "qwen3", "Qwen3", {"rope_parameters": ROPE, "head_dim": 16, "tie_word_embeddings": True}, THETA),
    ("yarn", "qwen3", "Qwen3", {"rope_parameters": YARN, "head_dim": 16}, {**THETA, **YARN_SAID}),
    ("plain", "gemma", "Gemma", {"rope_parameters": ROPE, "head_dim": 16}, THETA),
    ("plain", "gemma2", "Gemma2", {**GEMMA, "rope_parameters": ROPE}, {**THETA, "attention.sliding_window": 5}),
    ("plain", "gemma3", "Gemma3Text", {**GEMMA, "rope_parameters": GEMMA3_ROPES, "num_hidden_layers": 7}, {
        "attention.sliding_window": 5, "rope.freq_base": 70_000.0,
        "rope.scaling.type": "linear", "rope.scaling.factor": 8.0,
    }),
]  # fmt: skip


def model_of(kind: str, options: dict[str, Any]) -> Any:
    """Random weights, of norms and biases too."""
    config = getattr(transformers, f"{kind}Config")(**{
        "vocab_size": 261, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "pad_token_id": 0,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "eos_token_id": 1,
        "bos_token_id": None, "rms_norm_eps": 1e-5, **options,
    })  # fmt: skip
    model = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model


IDS = [f"{architecture}-{name}" for name, architecture, *_ in FAMILIES]


@pytest.mark.parametrize(("name", "architecture", "kind", "options", "said"), FAMILIES, ids=IDS)
def test_logits_are_those_of_the_model_that_was_packed(
    write_gguf: Write,
    tmp_path: Path,
    name: str,
    architecture: str,
    kind: str,
    options: dict[str, Any],
    said: dict[str, Any],
) -> None:
    model = model_of(kind, options)
    convert(write_gguf(tmp_path / "model.gguf", model, architecture, values=said), tmp_path / "made")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    ids = torch.randint(3, 261, (2, 40), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)
    assert again.config.tie_word_embeddings == model.config.tie_word_embeddings


@pytest.mark.parametrize("packed", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_blocks_are_undone_as_the_reference_does(write_gguf: Write, tmp_path: Path, packed: str) -> None:
    from gguf import GGMLQuantizationType, dequantize, quantize

    model = model_of("Llama", {"hidden_size": 64, "intermediate_size": 96, "rope_parameters": ROPE})
    convert(write_gguf(tmp_path / "model.gguf", model, "llama", packed, THETA), tmp_path / "made")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "made", dtype="auto")
    for name in ("model.embed_tokens.weight", "model.layers.1.self_attn.v_proj.weight", "lm_head.weight"):
        kind = GGMLQuantizationType[packed]
        expected = dequantize(quantize(model.state_dict()[name].numpy(), kind), kind)
        assert numpy.array_equal(again.state_dict()[name].float().numpy(), expected), name
    assert again.dtype == (torch.bfloat16 if packed == "BF16" else torch.float32)


def test_it_is_trained_like_any_other(write_gguf: Write, tmp_path: Path) -> None:
    """The tokenizer is that of the file, the turn's end from its numbers, and the packed pass takes it."""
    path = write_gguf(tmp_path / "model.gguf", model_of("Llama", {"rope_parameters": ROPE}), "llama", values=THETA)
    convert(path, tmp_path / "made")
    learner = Local(device="cpu", threads=1).open(tmp_path / "made")
    assert learner.slower == ""
    assert learner.stop_tokens == (1,)
    assert learner.context_tokens == 128
    assert learner.tokenizer.decode(learner.tokenizer.encode("Ann <|end|> é")) == "Ann <|end|> é"
    assert json.loads((tmp_path / "made/generation_config.json").read_text())["pad_token_id"] == 0


def broken(write_gguf: Write, path: Path) -> dict[str, tuple[Path, str]]:
    model = model_of("Llama", {"rope_parameters": ROPE})
    lost = write_gguf(path / "lost.gguf", model, "llama", values=THETA, left_out=["blk.1.ffn_up.weight"])
    other = write_gguf(path / "other.gguf", model, "qwen3", values=THETA)
    foreign = write_gguf(path / "granite.gguf", model, "granite")
    experts = write_gguf(path / "experts.gguf", model, "llama", values={**THETA, "expert_count": 8})
    scaled = write_gguf(path / "scaled.gguf", model, "llama", values={**THETA, "rope.scaling.type": "longrope"})
    wide = write_gguf(path / "wide.gguf", model, "llama", values={**THETA, "vocab_size": 7, "attention.key_length": 12})
    endless = write_gguf(path / "endless.gguf", model, "llama", values=THETA)
    said = b"llama.block_count" + (4).to_bytes(4, "little")
    endless.write_bytes(endless.read_bytes().replace(said + (2).to_bytes(4, "little"), said + b"\xff\xff\xff\x7f"))
    turning = write_gguf(path / "turning.gguf", model, "llama", values={"rope.freq_base": float("nan")})
    whole = write_gguf(path / "whole.gguf", model, "llama", values=THETA).read_bytes()
    damaged = {"undotted": b"blk.1_attn_q.weight", "unnamed": b"blk.1.attn_q.weighs", "deep": b"blk.x.attn_q.weight"}
    for name, letters in damaged.items():
        (path / f"{name}.gguf").write_bytes(whole.replace(b"blk.1.attn_q.weight", letters))
    place = whole.index(len(b"blk.1.attn_q.weight").to_bytes(8, "little") + b"blk.1.attn_q.weight")
    nameless = whole[:place] + bytes(8) + whole[place + 27 :]  # 19 bytes less, of what stands before all tensors
    (path / "nameless.gguf").write_bytes(nameless)
    cut, text = path / "cut.gguf", path / "text.gguf"
    cut.write_bytes(lost.read_bytes()[:2000])
    text.write_text("a page that says 404")
    return {
        "lost": (lost, r"model\.layers\.1\.mlp\.up_proj\.weight has no tensor"),
        "other": (other, "layers.0.self_attn.k_norm.weight has no tensor"),
        "foreign": (foreign, "architecture granite; expected llama, qwen2, qwen3, gemma, gemma2, gemma3"),
        "experts": (experts, r"a mixture of experts \(llama\); expected a dense model"),
        "scaled": (scaled, "rope scaling longrope; expected none, linear or yarn"),
        "wide": (wide, r"attn_q.weight is \(32, 32\); expected \(48, 32\) by its own numbers"),
        "endless": (endless, "says 2,147,483,647 blocks, and the last has no tensor"),
        "turning": (turning, "llama.rope.freq_base is nan; expected a finite number above 0"),
        **{name: (path / f"{name}.gguf", "its tensor 'blk.* has no place in a LlamaForCausalLM") for name in damaged},
        "nameless": (path / "nameless.gguf", "its tensor '' has no place in a LlamaForCausalLM"),
        "cut": (cut, "can't be read as GGUF: it is cut or damaged"),
        "text": (text, "can't be read as GGUF: it is cut or damaged"),
    }


def test_what_is_no_such_model_is_one_line_and_leaves_nothing(write_gguf: Write, tmp_path: Path) -> None:
    for name, (path, said) in broken(write_gguf, tmp_path).items():
        with pytest.raises(UserError, match=said):
            convert(path, tmp_path / name)
        assert not (tmp_path / name).exists()
        assert not list(tmp_path.glob(".partial-*"))
