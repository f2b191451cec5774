"""Log-probabilities: those of transformers' own logits, however they are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from groupwise.learners import logprobs as module
from groupwise.learners.logprobs import TokenLogprobs
from groupwise.types import Group, Rollout, flatten

RandomGroups = Callable[..., list[Group]]
SIZES = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
ODD_HEADS: dict[str, dict[str, Any]] = {
    "Gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0, "initializer_range": 0.3},
    "Cohere": {"logit_scale": 0.25, "initializer_range": 0.3},
    "Granite": {"logits_scaling": 4.0, "initializer_range": 0.3},
}


def make(family: str, **options: Any) -> Any:
    torch.manual_seed(5)
    config = getattr(transformers, f"{family}Config")(**(SIZES | options))
    return getattr(transformers, f"{family}ForCausalLM")(config).eval().double()


def by_hand(model: Any, rollout: Rollout, temperature: float) -> tuple[Tensor, Tensor]:
    """``[T]`` log-probabilities and entropies of one rollout, alone, from the model's own logits."""
    start = len(rollout.prompt.tokens)
    ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
    table = (model(ids).logits[0, start - 1 : -1] / temperature).log_softmax(-1)
    mask = torch.tensor(rollout.mask)
    chosen = table.gather(1, torch.tensor(rollout.tokens)[:, None])[:, 0]
    return torch.where(mask, chosen, 0.0), torch.where(mask, -(table.exp() * table).sum(-1), 0.0)


def check(model: Any, rollouts: Sequence[Rollout], temperature: float, tolerance: float = 1e-10) -> None:
    logprobs, entropy = TokenLogprobs(model)(rollouts, temperature)
    assert logprobs.shape == (len(rollouts), max(len(rollout.tokens) for rollout in rollouts))
    for row, rollout in enumerate(rollouts):
        length = len(rollout.tokens)
        for found, expected in zip((logprobs, entropy), by_hand(model, rollout, temperature), strict=True):
            torch.testing.assert_close(found[row, :length], expected, atol=tolerance, rtol=tolerance)
            assert not found[row, length:].any()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_equals_transformers_logits(random_groups: RandomGroups, temperature: float) -> None:
    """Padded together or alone, with masked tokens between: 0 there, and the same numbers elsewhere."""
    rollouts = flatten(random_groups(vocabulary=61))
    assert any(not all(rollout.mask) for rollout in rollouts)
    model = make("Qwen3", head_dim=8, initializer_range=0.3)
    assert TokenLogprobs(model).plain_head
    check(model, rollouts, temperature)


@pytest.mark.parametrize("family", ODD_HEADS)
def test_scaled_and_capped_logits_are_noticed(random_groups: RandomGroups, family: str) -> None:
    model = make(family, **ODD_HEADS[family])
    assert not TokenLogprobs(model).plain_head
    check(model, flatten(random_groups(vocabulary=61)), 1.0, tolerance=1e-7)  # parts of Gemma2 are float32 always


def test_a_cap_that_does_not_bite_yet_is_noticed(random_groups: RandomGroups) -> None:
    """A fresh model's small logits pass through a cap almost unchanged; those of a trained one will not."""
    model = make("Gemma2", head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=30.0, initializer_range=0.01)
    policy = TokenLogprobs(model)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1000)
    rollout = flatten(random_groups(vocabulary=61))[0]
    found, _ = policy([rollout], 1.0)
    torch.testing.assert_close(found[0], by_hand(model, rollout, 1.0)[0], atol=1e-7, rtol=1e-7)


def test_probing_the_head_leaves_the_model_alone(random_groups: RandomGroups) -> None:
    model = make("Qwen3", head_dim=8)
    tokens = torch.arange(9)[None]
    before, weights = model(tokens).logits, {name: value.clone() for name, value in model.state_dict().items()}
    TokenLogprobs(model)
    assert torch.equal(model(tokens).logits, before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", ["Qwen3", "Cohere"])
def test_chunks_give_the_same_values_and_gradients(
    random_groups: RandomGroups, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = flatten(random_groups(vocabulary=61))
    options = {"head_dim": 8} if family == "Qwen3" else ODD_HEADS[family]
    found = []
    for elements in (2**26, 61 * 4, 1):  # all at once; four tokens; one token
        monkeypatch.setattr(module, "CHUNK_ELEMENTS", elements)
        model = make(family, **options)
        logprobs, entropy = TokenLogprobs(model)(rollouts, 0.8)
        (logprobs * torch.linspace(-1, 1, logprobs.numel()).view_as(logprobs)).sum().backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found.append((logprobs.detach(), entropy, gradients))
    for logprobs, entropy, gradients in found[1:]:
        torch.testing.assert_close(logprobs, found[0][0], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(entropy, found[0][1], atol=1e-12, rtol=1e-12)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, found[0][2][name], atol=1e-12, rtol=1e-10, msg=name)


def test_half_precision_logits_are_normalised_in_float32(random_groups: RandomGroups) -> None:
    model = make("Qwen3", head_dim=8, initializer_range=0.3).bfloat16()
    logprobs, _ = TokenLogprobs(model)(flatten(random_groups(vocabulary=61)), 1.0)
    assert logprobs.dtype == torch.float32
    assert (logprobs <= 0).all()
