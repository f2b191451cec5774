"""Families whose blocks are known: engine and packed learner say what transformers says, and learn what it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from groupwise.engines import Native
from groupwise.engines.cpp import CppEngine
from groupwise.errors import UserError
from groupwise.kernels.decode import Decoder
from groupwise.learners.logprobs import LanguageModel, token_outputs
from groupwise.learners.micro_batch import MicroBatch
from groupwise.networks import Blueprint, blueprint_of
from groupwise.networks.context import stated_context
from groupwise.types import Completion, Example, Prompt, Request, Rollout, Sampling

SIZES: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64, "initializer_range": 0.2,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "n_inner": 48}
WINDOW = {"sliding_window": 9}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
GROWTH = {
    "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16,
    "llama_4_scaling_beta": 0.5, "max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 1.0,
}  # fmt: skip
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
LATENT = {
    **EXPERTS, "n_routed_experts": 8, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1,
    "kv_lora_rank": 12, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12, "head_dim": 8,
    "routed_scaling_factor": 1.5, "num_key_value_heads": 4,
}  # fmt: skip
LONG = {"rope_theta": 1e4, "rope_type": "longrope", "original_max_position_embeddings": 44, "factor": 2.0}
FOREIGN = {
    "sliding_window": 9,
    "layer_types": ["sliding_attention"] * 4,
    "logit_scale": 3.0,
    "residual_multiplier": 2.0,
}
"""Settings of other families, which transformers does not read in a Llama's config."""
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, settings that are not its own": ("llama", FOREIGN),
    "llama, angles by length": ("llama", {"rope_parameters": ROPE | {"rope_type": "dynamic", "factor": 4.0}}),
    "llama, angles of its first length": (
        "llama", {"rope_parameters": LONG | {"short_factor": [1.0, 1.2] * 4, "long_factor": [4.0] * 8}},
    ),
    "llama, an activation by its other name": ("llama", {"hidden_act": "swish"}),
    "phi3, angles of its first length, half of each head turned": (
        "phi3", {"original_max_position_embeddings": 44, "head_dim": 8, "rope_parameters": LONG | {
            "short_factor": [1.5, 2.5], "long_factor": [4.0] * 2, "partial_rotary_factor": 0.5}},
    ),
    "phi3": ("phi3", {}),
    "phi3, half of each head turned": ("phi3", {"rope_parameters": ROPE | {"partial_rotary_factor": 0.5}}),
    "phi3, narrow heads": ("phi3", {"num_attention_heads": 8, "hidden_size": 48}),
    "granite": ("granite", {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5,
                            "attention_multiplier": 0.3}),
    "granite, biases": ("granite", {"attention_bias": True, "mlp_bias": True, "residual_multiplier": 0.5}),
    "smollm3": ("smollm3", {}),
    "seed_oss": ("seed_oss", {}),
    "olmo2": ("olmo2", {"head_dim": 8}),
    "olmo2, heads that vectors do not fill": ("olmo2", {"hidden_size": 40, "head_dim": 10}),
    "olmo3, angles of no kind": ("olmo3", {"head_dim": 8, **WINDOW, "rope_parameters": ROPE | {"factor": 3.0}}),
    "olmo3": ("olmo3", {"head_dim": 8, **WINDOW}),
    "exaone4": ("exaone4", {**WINDOW, "head_dim": 8}),
    "exaone4, no windows": ("exaone4", {"sliding_window": None, "head_dim": 8, "layer_types": ["full_attention"] * 4}),
    "hunyuan": ("hunyuan_v1_dense", {"use_qk_norm": True}),
    "ernie4_5": ("ernie4_5", {"use_bias": True}),
    "glm": ("glm", {}),
    "glm4": ("glm4", {"attention_bias": True}),
    "helium": ("helium", {"head_dim": 8}),
    "cohere": ("cohere", {"logit_scale": 0.25}),
    "cohere2": ("cohere2", {**WINDOW, "logit_scale": 0.25}),
    "gpt2": ("gpt2", GPT2),
    "starcoder2": ("starcoder2", {}),
    "starcoder2, window, no biases": ("starcoder2", {**WINDOW, "use_bias": False}),
    "ministral3": ("ministral3", {"rope_parameters": GROWTH}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": ("qwen3_moe", {**EXPERTS, "num_experts": 8, "norm_topk_prob": True, "mlp_only_layers": [1]}),
    "deepseek_v3": ("deepseek_v3", LATENT | {"q_lora_rank": 20, "rope_interleave": True}),
    "deepseek_v3, queries without latents, groups of experts": (
        "deepseek_v3", LATENT | {"q_lora_rank": None, "n_group": 4, "topk_group": 2, "rope_interleave": False},
    ),
    "gpt_oss": ("gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 2, **WINDOW, "rope_parameters": ROPE}),
    "qwen3_moe, another activation": (
        "qwen3_moe", {**EXPERTS, "num_experts": 8, "hidden_act": "gelu_pytorch_tanh"},
    ),
    "qwen3_moe, weights of all": ("qwen3_moe", {**EXPERTS, "num_experts": 8, "norm_topk_prob": False}),
}  # fmt: skip
UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "gpt2": ({**GPT2, "scale_attn_by_inverse_layer_idx": True}, "scores that every layer scales otherwise"),
    "cohere": ({"use_qk_norm": True}, "LayerNorms of heads"),
    "starcoder2": ({"hidden_act": "relu"}, "activation relu"),
}
PROMPTS = [tuple(range(3, 3 + length)) for length in (4, 19)]


def model_of(kind: str, options: dict[str, Any]) -> Any:
    """With norms and biases that are not 1 and 0, which would hide mistakes."""
    sizes = {name: SIZES[name] for name in ("vocab_size", "initializer_range")} if kind == "gpt2" else SIZES
    torch.manual_seed(4)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**sizes, **options})).eval()
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "ln_" in name or name.endswith("bias"):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw))
            if name.endswith(("gate.weight", "router.weight", "sinks")):
                parameter.copy_(torch.randn(parameter.shape, generator=draw))  # a router of zeros chooses by chance
    return model


def alone(model: Any, prompt: tuple[int, ...], completion: tuple[int, ...]) -> Tensor:
    """Log-probabilities by transformers' forward pass."""
    ids = torch.tensor([[*prompt, *completion]])
    table = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return table.gather(1, torch.tensor(completion)[:, None])[:, 0]


def rollouts_of(said: list[tuple[int, Completion]]) -> list[Rollout]:
    return [
        Rollout(Prompt(Example("row", ""), PROMPTS[number]), one.tokens, (True,) * len(one.tokens), one.logprobs, "",
                True, 0)
        for number, one in said
    ]  # fmt: skip


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_engine_learner_and_transformers_say_the_same(name: str) -> None:
    """To 2e-5 nats; and gradients agree, of every parameter."""
    model, notes = model_of(*FAMILIES[name]), list[str]()
    engine = Native(threads=1).open("made here", model, None, notes.append)
    assert isinstance(engine, CppEngine), notes
    requests = [Request(prompt, (7, 8, 9)) for prompt in PROMPTS]
    said = [(number, one) for number, _, one in engine.generate(requests, Sampling(24))]
    rollouts = rollouts_of(said)
    policy = LanguageModel(model)
    assert not policy.backbone.fallback_reason
    micro_batch = MicroBatch.of(rollouts, "cpu")
    learned = token_outputs(policy(micro_batch), micro_batch, 1.0).logprobs
    expected = [alone(model, PROMPTS[number], one.tokens) for number, one in said]
    for row, theirs, (_, one) in zip(learned, expected, said, strict=True):
        torch.testing.assert_close(torch.tensor(one.logprobs).float(), theirs.detach(), atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(row[: len(theirs)].float(), theirs, atol=2e-5, rtol=1e-5)
    weights = torch.linspace(-1, 1, learned.shape[1])
    (learned * weights).sum().backward()
    ours = gradients(model)
    sum((row * weights[: len(row)]).sum() for row in expected).backward()  # type: ignore[union-attr]
    for parameter, gradient in gradients(model).items():
        size = gradient.norm()
        assert (ours[parameter] - gradient).norm() <= 2e-4 * size + 1e-5, parameter


@pytest.mark.parametrize("name", ["phi3", "granite", "glm4", "cohere2", "gpt2", "mixtral"])
def test_in_bfloat16_engine_and_learner_agree_where_the_processor_has_it(name: str) -> None:
    """To 0.02 nats in the mean: both round inputs of matrix products, and neither what blocks add."""
    loaded = Decoder.load()
    if isinstance(loaded, str) or not loaded.has_bfloat:
        pytest.skip("no compiler, or a processor without bfloat16")
    model = model_of(*FAMILIES[name]).bfloat16()
    engine = Native(threads=1).open("made here", model, None)
    assert isinstance(engine, CppEngine)
    said = [(number, one) for number, _, one in engine.generate([Request(p, (7, 8, 9)) for p in PROMPTS], Sampling(24))]
    micro_batch = MicroBatch.of(rollouts_of(said), "cpu")
    learned = token_outputs(LanguageModel(model)(micro_batch), micro_batch, 1.0).logprobs
    pairs = [
        (row[: len(one.logprobs)], torch.tensor(one.logprobs)) for row, (_, one) in zip(learned, said, strict=True)
    ]
    assert torch.cat([(ours - theirs).abs() for ours, theirs in pairs]).mean() < 0.02


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_known_of_a_family_is_named(kind: str) -> None:
    options, why = UNKNOWN[kind]
    found = blueprint_of(model_of(kind, options))
    assert isinstance(found, str)
    assert why in found


def test_heads_meet_as_their_own_pairs_do() -> None:
    """Numbers that turn together are half a head apart, those that are not turned have no angle."""
    parts = blueprint_of(model_of("glm4", {}))
    assert isinstance(parts, Blueprint)
    assert parts.order == (0, 2, 4, 6, 8, 9, 10, 11, 1, 3, 5, 7, 12, 13, 14, 15)
    [(cos, sin)] = parts.tables(5)
    assert torch.equal(cos[:, 4:8], torch.ones(5, 4))
    assert torch.equal(sin[:, 12:], torch.zeros(5, 4))
    assert torch.equal(cos[:, :8], cos[:, 8:])


def test_a_long_rope_is_as_long_as_its_first_angles_hold() -> None:
    """Beyond, every position is turned otherwise: engine and learner keep sequences within, and angles stay."""
    model = model_of("llama", FAMILIES["llama, angles of its first length"][1])
    assert stated_context(model) == 44
    assert Native(threads=1).open("made here", model, None).context_tokens == 44
    parts = blueprint_of(model)
    assert isinstance(parts, Blueprint)
    [(short, _)], [(long, _)] = parts.tables(44), parts.tables(64)
    assert torch.equal(short, long[:44])
    assert torch.equal(long[43:], long[43].expand(21, -1))


def test_settings_at_odds_are_one_line() -> None:
    """A Gemma 3 with a window and none; a Mistral whose layers all have one, and whose cache hears that two do not."""
    with pytest.raises(UserError, match=r"Gemma3TextModel does not go forward with its config.json: .*sliding_window"):
        LanguageModel(model_of("gemma3_text", {"sliding_window": None}))
    kinds = ["full_attention", "sliding_attention"] * 2
    model = model_of("mistral", {"sliding_window": 5, "layer_types": kinds, "rope_parameters": {"rope_theta": 1}})
    model.config.hidden_act = "relu"  # so that it goes through transformers
    with pytest.raises(UserError, match=r"MistralForCausalLM can't be sampled from with its config.json: "):
        Native(threads=1).open("made here", model, None).generate([Request(PROMPTS[1], (7,))], Sampling(4))
