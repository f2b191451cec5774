"""Engine and learner say the same of the same weights, and the learner what transformers says, whatever the family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from groupwise.engines import Native
from groupwise.learners.logprobs import LanguageModel, token_outputs
from groupwise.learners.micro_batch import MicroBatch
from groupwise.types import Example, Prompt, Request, Rollout, Sampling

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GEMMA = {"sliding_window": 9, "query_pre_attn_scalar": 16, "attn_implementation": "eager"}
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Mistral": {"sliding_window": 9},
    "Qwen2": {},
    "Qwen3": {"tie_word_embeddings": True},
    "Gemma": {},
    "Gemma2": GEMMA | {"final_logit_softcapping": 3.0},
    "Gemma3": GEMMA,
    "Cohere": {"logit_scale": 0.25},
    "GPTNeoX": {},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_of_every_sampled_token_to_a_hundred_thousandth(family: str) -> None:
    """GPT-NeoX's blocks are known to neither by their parts: both go through transformers."""
    config = getattr(transformers, f"{family}TextConfig" if family == "Gemma3" else f"{family}Config")
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}ForCausalLM")(config(**(SIZES | FAMILIES[family]))).eval()
    policy = LanguageModel(model)
    assert bool(policy.backbone.fallback_reason) == (family == "GPTNeoX")
    prompts = [tuple(range(3, 3 + length)) for length in (4, 11)]
    engine = Native().open("made here", model, None)
    rollouts, said = [], []
    requests = [Request(prompt, (7, 8, 9)) for prompt in prompts]
    for number, _, completion in engine.generate(requests, Sampling(max_tokens=24, temperature=0.8)):
        tokens, logprobs = completion.tokens, completion.logprobs
        prompt = Prompt(Example("row", ""), prompts[number])
        rollouts.append(Rollout(prompt, tokens, (True,) * len(tokens), logprobs, "", True, 0))
        said.append(torch.tensor(logprobs))
    micro_batch = MicroBatch.of(rollouts, "cpu")
    with torch.no_grad():
        found = token_outputs(policy(micro_batch), micro_batch, 0.8).logprobs
        for row, (rollout, engines) in enumerate(zip(rollouts, said, strict=True)):
            ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
            logits = model(ids).logits[0, len(rollout.prompt.tokens) - 1 : -1]
            theirs = (logits / 0.8).log_softmax(-1).gather(1, torch.tensor(rollout.tokens)[:, None])[:, 0]
            torch.testing.assert_close(found[row], theirs, rtol=0, atol=1e-5)
            torch.testing.assert_close(found[row].double(), engines.double(), rtol=0, atol=1e-5)
