"""Which models the embedded decoder takes, and how it shares their memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from groupwise.engines import Native
from groupwise.engines.decoder import Decoder, joined, share_storage, unsupported
from groupwise.engines.general import GeneralEngine
from groupwise.engines.native import NativeEngine

FAMILY = ["llama", "llama, biases everywhere", "mistral", "qwen2", "qwen3, tied head, yarn rope"]


@pytest.mark.parametrize("name", FAMILY)
def test_the_family_is_supported(make_model: Any, name: str) -> None:
    notes: list[str] = []
    assert unsupported(make_model(name)) is None
    assert isinstance(Native().open(make_model(name), notes.append), NativeEngine)
    assert notes == []


@pytest.mark.parametrize("name", ["gpt_neox", "gemma2"])
def test_another_architecture_goes_the_general_way_and_says_so(make_model: Any, name: str) -> None:
    notes: list[str] = []
    assert isinstance(Native().open(make_model(name), notes.append), GeneralEngine)
    assert len(notes) == 1
    assert name in notes[0]
    assert "\n" not in notes[0]


def test_a_sliding_window_is_noticed(make_model: Any) -> None:
    model = make_model("mistral")
    model.config.sliding_window = 8
    assert "sliding window" in str(unsupported(model))


def test_a_model_that_computes_something_else_is_noticed(make_model: Any) -> None:
    """Whatever the config says: the logits on a probe decide."""
    model = make_model("llama")
    forward = model.lm_head.forward
    model.forward = _wrapped(model.forward)
    assert "differ" in str(unsupported(model))
    assert model.lm_head.forward == forward


def _wrapped(forward: Any) -> Any:
    def scaled(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        output.logits = output.logits * 1.5
        return output

    return scaled


def test_sharing_storage_keeps_names_values_and_logits(make_model: Any) -> None:
    model = make_model("qwen2")
    tokens = torch.arange(10)[None]
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    logits = model(tokens).logits
    Decoder(model, 16)
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(model(tokens).logits, logits)


def test_joined_is_a_view_where_layers_lie_side_by_side() -> None:
    layers = [nn.Linear(3, 4), nn.Linear(3, 2)]
    apart = joined(layers)
    assert apart is not None
    assert torch.equal(apart, torch.cat([layer.weight for layer in layers]))
    assert apart.data_ptr() != layers[0].weight.data_ptr()
    share_storage(layers)
    together = joined(layers)
    assert together is not None
    assert torch.equal(together, apart)
    with torch.no_grad():
        layers[1].weight.add_(1)
    assert torch.equal(together[4:], layers[1].weight)
    assert joined([nn.Linear(3, 4, bias=False)], "bias") is None
