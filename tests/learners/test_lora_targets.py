"""Low-rank adapters on architectures of every kind: where they are, and that all who read them hear the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import groupwise
from groupwise.errors import UserError
from groupwise.learners import Lora
from groupwise.learners.lora import Adapters

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 64}
HEADS = {**SIZES, "num_key_value_heads": 2, "head_dim": 16}
EXPERTS = {**HEADS, "moe_intermediate_size": 32, "num_experts_per_tok": 2}
OF_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 64, "bos_token_id": 1, "eos_token_id": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": HEADS,
    "gpt2": OF_GPT2,
    "gpt_neox": SIZES,
    "phi3": {**HEADS, "pad_token_id": 0, "eos_token_id": 1},
    "mixtral": {**HEADS, "num_local_experts": 4},
    "glm4_moe": {**EXPERTS, "n_routed_experts": 4, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
    "qwen2_moe": {**EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 32},
    "qwen3_moe": {**EXPERTS, "num_experts": 4, "mlp_only_layers": [1]},
    "gpt_oss": {**EXPERTS, "num_local_experts": 4, "layer_types": ["full_attention", "sliding_attention"]},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64, "state_size": 4},
}
WITH_EXPERTS = ("mixtral", "glm4_moe", "qwen2_moe", "qwen3_moe", "gpt_oss")
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LAYERS = {
    "llama": [*ATTENTION, "gate_proj", "up_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "phi3": ["o_proj", "qkv_proj", "gate_up_proj", "down_proj"],
    "mixtral": ATTENTION,
    "glm4_moe": ATTENTION,
    "qwen2_moe": ATTENTION,
    "qwen3_moe": ATTENTION,
    "gpt_oss": ATTENTION,
    "mamba": ["in_proj", "x_proj"],
}
TOKENS = torch.arange(5, 15)[None]


def model_of(kind: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **CONFIGS[kind])).eval()


def moved(adapters: Adapters) -> Adapters:
    """Adapters that make a difference, in both of their places."""
    torch.manual_seed(1)
    for parameter in adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    adapters.merge()
    return adapters


@pytest.mark.filterwarnings("error::FutureWarning")
def test_nobody_is_warned_of_what_peft_asks_transformers() -> None:
    Adapters(model_of("llama"), Lora(rank=2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("rslora", [False, True], ids=["lora", "rslora"])
def test_learner_sampler_and_peft_see_the_same_model(kind: str, rslora: bool, tmp_path: Path) -> None:
    """``trained`` learns, ``model`` is sampled from, and peft loads what is saved onto the model that it began with."""
    from peft import PeftModel

    model, notes = model_of(kind), list[str]()
    adapters = moved(Adapters(model, Lora(rank=4, rslora=rslora), notes.append))
    adapters.save(tmp_path)
    kept = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert kept == sorted(LAYERS[kind])
    loaded = PeftModel.from_pretrained(model_of(kind), str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        before, trained, merged, read = (m(TOKENS).logits for m in (model_of(kind), adapters.trained, model, loaded))
    assert (trained - before).abs().max() > 1e-3
    torch.testing.assert_close(merged, trained, rtol=1e-4, atol=2e-6)
    torch.testing.assert_close(read, trained, rtol=1e-4, atol=2e-6)
    assert f"({', '.join(LAYERS[kind])})" in notes[0]
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    if kind in WITH_EXPERTS:
        assert "; of all experts gate_up_proj, down_proj" in notes[0]
        assert config["target_parameters"] == ["experts.down_proj", "experts.gate_up_proj"]
    else:
        assert "experts" not in notes[0]
        assert not config["target_parameters"]


def test_the_scale_is_alpha_over_the_rank_or_over_its_root() -> None:
    for lora, scale in ((Lora(rank=4, alpha=8.0), 2.0), (Lora(rank=4, alpha=8.0, rslora=True), 4.0)):
        model = model_of("llama")
        weight = model.model.layers[0].self_attn.q_proj.weight.clone()
        layer = moved(Adapters(model, lora)).trained.model.layers[0].self_attn.q_proj
        delta = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        found = model.model.layers[0].self_attn.q_proj.weight - weight
        torch.testing.assert_close(found, scale * delta, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "targets", "message"),
    [
        ("gpt2", ("q_proj",), "no linear layer named q_proj; expected all-linear or some of c_attn, c_proj, c_fc"),
        ("llama", (), "named by an empty list; expected all-linear"),
        ("llama", ("all-linear", "wte"), "no linear layer named wte"),
        ("mamba", ("dt_proj",), "dt_proj is read past the layer itself"),
        ("mamba", ("out_proj",), "peft refuses: .*incompatible with Mamba"),
        ("glm4_moe", ("gate_proj", "up_proj", "down_proj"), "peft takes some of them for the experts"),
        ("glm4_moe", ("gate_proj",), "peft refuses: Cannot convert"),
    ],
)
def test_a_target_that_cannot_have_an_adapter_is_refused(kind: str, targets: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Adapters(model_of(kind), Lora(rank=2, targets=targets))
    assert "\n" not in str(caught.value)


def test_experts_have_no_adapters_in_half_precision() -> None:
    """peft adds theirs to the weights, whose rounding would lose most of a small step."""
    notes = list[str]()
    Adapters(model_of("mixtral").bfloat16(), Lora(rank=2), notes.append)
    assert "; without adapters: gate_up_proj, down_proj" in notes[0]


@pytest.mark.parametrize("names", [("lm_head",), ("lm_head", "embed_tokens", "norm"), ("input_layernorm",)], ids=str)
def test_modules_are_trained_whole_saved_and_loaded_by_peft(names: tuple[str, ...], tmp_path: Path) -> None:
    from peft import PeftModel

    def model() -> Any:
        return model_of("llama")

    adapters = moved(Adapters(plain := model(), Lora(rank=2, modules_to_save=names)))
    adapters.save(tmp_path)
    loaded = PeftModel.from_pretrained(model(), str(tmp_path / "adapter")).eval()
    again = Adapters(merged := model(), Lora(rank=2, modules_to_save=names))
    again.load(tmp_path)
    with torch.no_grad():
        expected = adapters.trained(TOKENS).logits
        for one in (plain, loaded, again.trained, merged):
            torch.testing.assert_close(one(TOKENS).logits, expected, rtol=1e-4, atol=2e-6)
    without = Adapters(model(), Lora(rank=2)).parameters()
    parts = [name.rpartition(".")[0].rpartition(".")[2] for name, _ in plain.named_parameters()]
    assert len(adapters.parameters()) - len(without) == sum(part in names for part in parts)


def test_modules_that_cannot_be_trained_whole_are_refused() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    tied = LlamaForCausalLM(LlamaConfig(**HEADS, tie_word_embeddings=True))
    with pytest.raises(UserError, match="embed_tokens is the same matrix as one of lm_head; expected both or neither"):
        Adapters(tied, Lora(rank=2, modules_to_save=("lm_head",)))
    Adapters(tied, Lora(rank=2, modules_to_save=("lm_head", "embed_tokens")))
    for names, message in {
        ("head",): "has no module head; expected .*lm_head",
        ("q_proj",): "q_proj would be trained whole and have an adapter",
    }.items():
        with pytest.raises(UserError, match=message):
            Adapters(model_of("llama"), Lora(rank=2, modules_to_save=names))


def test_it_is_where_a_user_looks_for_it() -> None:
    assert groupwise.Lora is groupwise.learners.Lora is Lora
    assert groupwise.Local(lora=groupwise.Lora(16)).lora.targets == ("all-linear",)
