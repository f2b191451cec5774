"""Adapters that go to vLLM servers alone: what is frozen once, then a small folder a version."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from served import REQUESTS, Place, drawn
from stand_in import Faults

from groupwise.engines.low_rank import frozen_of, low_rank_of
from groupwise.errors import UserError
from groupwise.types import CompletionEvent, Sampling

RANK = 4


@pytest.fixture
def learner(model: Any, place: Place) -> Any:
    """A model with adapters beside it, as a learner in half precision gives engines; they add something."""
    options = LoraConfig(r=RANK, lora_alpha=6, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(copy.deepcopy(model), options).get_base_model().eval().requires_grad_(False)
    stir(adapted, 1)
    place.model = adapted
    return adapted


def stir(adapted: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if ".lora_" in name:
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))


def serve(place: Place, plain: Any, rank: int = 8, **faults: Any) -> Any:
    place.model, adapted = plain, place.model
    server = place.serve(Faults(adapter_rank=rank, **faults))
    place.model = adapted
    return server


def test_adapters_go_alone(place: Place, model: Any, learner: Any) -> None:
    """The frozen weights once; then each version by a name of its own, the one before it still there."""
    server = serve(place, model)
    engine = place.open()
    for version in (1, 2, 3):
        stir(learner, version)
        engine.load(learner.named_parameters(), version)
        found = drawn(engine)
        assert {one.version for one in found.values()} == {version}
        assert len(found) == 4 * len(REQUESTS)
    assert engine.gaps == pytest.approx([0, 0, 0], abs=1e-5)
    assert sorted(server.adapters) == ["policy-2", "policy-3"]
    assert server.unloaded == ["policy-1"]
    folder = place.folder / "weights"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "a000001", "a000002", "a000003", "v000001"]
    said = json.loads((folder / "a000003" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (said["r"], said["lora_alpha"], said["target_modules"]) == (RANK, 6.0, ["down_proj", "q_proj"])
    assert server.updates == 1, "whole weights, given once"


def test_new_frozen_weights_are_given_again(place: Place, model: Any, learner: Any) -> None:
    server = serve(place, model)
    engine = place.open()
    engine.load(learner.named_parameters(), 1)
    learner.model.norm.weight.mul_(1.25)
    engine.load(learner.named_parameters(), 2)
    assert server.updates == 2
    assert engine.gaps[-1] < 1e-5


def test_a_server_without_adapters_gets_them_in_its_weights(place: Place, model: Any, learner: Any) -> None:
    """Whole weights with the adapters in them; said once."""
    server = serve(place, model, rank=2)
    engine = place.open()
    for version in (1, 2):
        stir(learner, version)
        engine.load(learner.named_parameters(), version)
    assert engine.gaps == pytest.approx([0, 0], abs=1e-5)
    assert server.updates == 2
    assert [note for note in place.notes if f"takes no adapters of rank {RANK}" in note] == place.notes


def test_a_server_that_began_anew_is_given_both(place: Place, model: Any, learner: Any) -> None:
    """Frozen weights and adapters, when it no longer knows their name."""
    server = serve(place, model, begins_anew_after=20)
    engine = place.open(concurrent=4)
    engine.load(learner.named_parameters(), 1)
    found = drawn(engine)
    assert {one.version for one in found.values()} == {1}
    assert server.updates == 2
    assert sorted(server.adapters) == ["policy-1"]


def test_what_is_under_way_ends_with_its_own_adapters(place: Place, model: Any, learner: Any) -> None:
    """Also where new ones don't wait for it: a request names its adapters, which stay loaded meanwhile."""
    server = serve(place, model, seconds=0.02)
    engine = place.open(concurrent=8, in_flight="keep")
    engine.load(learner.named_parameters(), 1)
    stream = engine.stream(Sampling(16))
    for request in REQUESTS[:2]:
        stream.submit(request)
    found = []
    for version, event in enumerate(stream.events(), 2):
        assert isinstance(event, CompletionEvent)
        found.append(event.completion)
        if version < 5:
            stir(learner, version)
            engine.load(learner.named_parameters(), version)
            stream.submit(REQUESTS[version])
    stream.close()
    assert len(found) == 20
    assert all(len(one.spans) == 1 for one in found)
    assert {1, 4} <= {one.version for one in found} <= {1, 2, 3, 4}
    assert "policy-4" in server.adapters


def test_adapters_of_several_kinds_are_no_folder(learner: Any) -> None:
    layer = next(module for module in learner.modules() if hasattr(module, "get_delta_weight"))
    layer.scaling["default"] = 9.0
    with pytest.raises(ValueError, match="one rank and scale"):
        low_rank_of(list(learner.named_parameters()), learner)


def test_frozen_weights_have_their_own_names(model: Any, learner: Any) -> None:
    assert {name for name, _ in frozen_of(learner.named_parameters())} == {name for name, _ in model.named_parameters()}
    assert low_rank_of(list(model.named_parameters()), model) is None


def test_adapters_of_before_are_those_that_are_given(place: Place, model: Any, learner: Any) -> None:
    """A copy of earlier weights is loaded while the learner is further on: its adapters go, and score the probe."""
    serve(place, model)
    engine = place.open()
    kept = [(name, weight.clone()) for name, weight in learner.named_parameters()]
    stir(learner, 9)
    engine.load(kept, 1)
    assert engine.gaps == pytest.approx([0], abs=1e-5)


def test_a_server_that_refuses_the_adapters_is_one_line(place: Place, model: Any, learner: Any) -> None:
    server = serve(place, model)
    server.faults.refuses["/v1/load_lora_adapter"] = (500, "no such file")
    engine = place.open()
    with pytest.raises(UserError, match=r"no such file; the server lives and does not take version 1 .*a000001"):
        engine.load(learner.named_parameters(), 1)
