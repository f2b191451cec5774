"""The memory of merged weights is there while an engine samples, and given back while the learner learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from groupwise.algorithm import Outputs
from groupwise.engines import Native
from groupwise.learners import Local, Lora
from groupwise.learners.local import LocalLearner
from groupwise.networks.linear import side_by_side
from groupwise.types import Group, Request, Sampling, flatten

Open = Callable[..., LocalLearner]
LORA = Lora(rank=2)
ADAPTED = "model.layers.0.self_attn.q_proj.weight"


def likelihood(rows: Any, said: Outputs) -> Outputs:
    return Outputs(torch.ones_like(said.logprobs))


def test_they_are_gone_while_the_learner_learns_and_back_when_it_is_asked(
    open_learner: Open, random_groups: Callable[..., list[Group]]
) -> None:
    learner, rollouts = open_learner(lora=LORA), flatten(random_groups())
    weight = learner.model.get_parameter(ADAPTED)
    before = weight.clone()
    learner.backward(rollouts, 1.0, likelihood)
    assert weight.numel() == 0
    learner.discard()
    assert torch.equal(learner.live_module().get_parameter(ADAPTED), before)
    attention = learner.model.model.layers[0].self_attn
    assert side_by_side([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    learner.backward(rollouts, 1.0, likelihood)
    learner.step(float(len(rollouts)), 1e-2)
    moved = dict(learner.weights())[ADAPTED]
    assert moved.shape == before.shape
    assert not torch.equal(moved, before)


def test_what_samples_without_asking_for_them_is_told(
    open_learner: Open, random_groups: Callable[..., list[Group]]
) -> None:
    """An engine that is not given the new weights finds none, and never half of the old ones."""
    learner = open_learner(lora=LORA)
    engine = Native(threads=1).open("made here", learner.live_module(), learner.tokenizer)
    learner.backward(flatten(random_groups()), 1.0, likelihood)
    with pytest.raises((ValueError, RuntimeError)):
        list(engine.generate([Request((5, 6), (1,))], Sampling(2)))
    engine.load(learner.weights(), learner.version)
    assert list(engine.generate([Request((5, 6), (1,))], Sampling(2)))


@pytest.mark.parametrize(
    ("asked", "rank", "tokens"), [(8192, 0, 8192), (8192, 4, 1024), (65_536, 4, 8192), (2048, 4, 1024), (40, 4, 40)]
)
def test_micro_batches_beside_adapters_are_small(asked: int, rank: int, tokens: int) -> None:
    options = Local(device="cpu", tokens_per_micro_batch=asked, lora=Lora(rank=rank))
    assert options.tokens_at_once == tokens
