"""Whether a model is computed packed, and what it takes to find out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from groupwise.learners.hidden_states import backbone_of

SIZES: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "initializer_range": 0.2,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
EXPERTS: dict[str, Any] = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def made(kind: str, seed: int = 4, **options: Any) -> Any:
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **options)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate.weight"):
                parameter.normal_()  # a router of zeros chooses by chance
    return model.bfloat16()


class Widened(TorchDispatchMode):
    """Counts matrices of a model that are made in float32."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.shapes = {parameter.shape for parameter in model.parameters() if parameter.dim() > 1}
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        self.count += isinstance(found, torch.Tensor) and found.dtype == torch.float32 and found.shape in self.shapes
        return found


def test_a_model_in_half_precision_is_not_copied() -> None:
    model = made("Qwen3")
    with Widened(model) as widened:
        assert not backbone_of(model).fallback_reason
    assert widened.count == 0


@pytest.mark.parametrize("seed", [4, 10])
def test_a_router_that_rounding_turns_is_asked_in_float32(seed: int) -> None:
    """Other experts for one token are 0.2 and 0.08 of the largest state."""
    model = made("Qwen3Moe", seed, **EXPERTS, norm_topk_prob=True)
    assert not backbone_of(model).fallback_reason
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_what_is_no_rounding_is_still_seen() -> None:
    model = made("Qwen3")
    model.model.layers[1].mlp.register_forward_hook(lambda _module, _given, made: made * 1.5)
    assert "differ by" in backbone_of(model).fallback_reason
