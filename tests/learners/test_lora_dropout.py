"""Dropout in adapters: where a gradient is made, nowhere else, and the same for the same update."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise.algorithm import Outputs
from groupwise.learners import Lora
from groupwise.learners.local import LocalLearner
from groupwise.learners.lora_dropout import input_masks
from groupwise.types import Group, Rollout, flatten

Open = Callable[..., LocalLearner]
RandomGroups = Callable[..., list[Group]]


def ones(rows: Any, outputs: Outputs) -> Outputs:
    return Outputs(torch.ones_like(outputs.logprobs))


def opened(open_learner: Open, **options: Any) -> LocalLearner:
    """With adapters that make a difference."""
    learner = open_learner(threads=1, lora=Lora(rank=2, dropout=0.5), **options)
    assert learner._adapters is not None
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in learner._adapters.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return learner


def gradients(learner: LocalLearner, rollouts: list[Rollout]) -> list[torch.Tensor]:
    assert learner._adapters is not None
    learner.discard()
    learner.backward(rollouts, 1.0, ones)
    learner._adapters.end_update(learner.version)
    found = [parameter.grad for parameter in learner._adapters.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient.clone() for gradient in found if gradient is not None]


def test_a_share_of_the_inputs_is_dropped_and_the_others_are_larger() -> None:
    matrices = [torch.nn.Parameter(torch.ones(3, 2000)), torch.nn.Parameter(torch.ones(3, 2000))]
    one, other = input_masks(matrices, 0.2, update=7)
    assert one.shape == (1, 2000)
    assert set(one.unique().tolist()) == {0.0, 1.25}
    assert 0.17 < float((one == 0).float().mean()) < 0.23
    assert not torch.equal(one, other)
    assert torch.equal(one, input_masks(matrices, 0.2, update=7)[0])
    assert not torch.equal(one, input_masks(matrices, 0.2, update=8)[0])


def test_only_what_learns_drops(open_learner: Open, random_groups: RandomGroups) -> None:
    learner, rollouts, said = opened(open_learner), flatten(random_groups()), list[torch.Tensor]()
    before = learner.logprobs(rollouts, 1.0)

    def heard(rows: Any, outputs: Outputs) -> Outputs:
        said.append(outputs.logprobs)
        return ones(rows, outputs)

    learner.backward(rollouts, 1.0, heard)
    assert (said[0].sum() - before.sum()).abs() > 1e-3
    assert torch.equal(learner.logprobs(rollouts, 1.0), before)
    assert learner._adapters is not None
    learner._adapters.merge()
    ids = torch.tensor([[*rollouts[0].prompt.tokens, *rollouts[0].tokens]])
    with torch.no_grad():
        torch.testing.assert_close(
            learner._adapters.trained(ids).logits, learner.model(ids).logits, rtol=1e-4, atol=1e-5
        )


def test_the_gradient_is_that_of_peft_without_those_inputs(open_learner: Open, random_groups: RandomGroups) -> None:
    """By autograd through inputs times the mask, in front of each adapter."""
    learner, rollouts = opened(open_learner, dtype="float64"), flatten(random_groups())
    found, adapters = gradients(learner, rollouts), learner._adapters
    assert adapters is not None
    masks = input_masks(adapters._inward(), 0.5, learner.version)
    hooks = [
        weight.layer.lora_A["default"].register_forward_pre_hook(lambda module, given, mask=mask: (given[0] * mask,))
        for weight, mask in zip(adapters._weights, masks, strict=True)
    ]
    learner.discard()
    for rollout in rollouts:
        ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
        logits = adapters.trained(ids).logits[0, len(rollout.prompt.tokens) - 1 : -1]
        table = logits.log_softmax(-1).gather(1, torch.tensor(rollout.tokens)[:, None])[:, 0]
        (-table * torch.tensor(rollout.mask)).sum().backward()  # cotangents are of what is to grow
    for hook in hooks:
        hook.remove()
    for ours, parameter in zip(found, adapters.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-8, atol=1e-10)


def test_it_depends_on_the_update_and_not_on_micro_batches(open_learner: Open, random_groups: RandomGroups) -> None:
    rollouts = flatten(random_groups())
    whole = gradients(opened(open_learner), rollouts)
    for options in ({"tokens_per_micro_batch": 16}, {"checkpointing": True}):
        for ours, theirs in zip(gradients(opened(open_learner, **options), rollouts), whole, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    learner = opened(open_learner)
    learner.version += 1
    assert not torch.allclose(gradients(learner, rollouts)[0], whole[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_resumed_run_drops_what_it_would_have_dropped(
    open_learner: Open, random_groups: RandomGroups, tmp_path: Path, dtype: str
) -> None:
    rollouts, one = flatten(random_groups()), opened(open_learner, dtype=dtype)
    gradients(one, rollouts)
    one.step(4.0, 1e-2)
    one.write(tmp_path)
    other = opened(open_learner, dtype=dtype)
    other.read(tmp_path)
    for ours, theirs in zip(gradients(one, rollouts), gradients(other, rollouts), strict=True):
        assert torch.equal(ours, theirs)


def test_a_reference_hears_a_head_that_is_trained_whole_as_it_was(
    open_learner: Open, random_groups: RandomGroups
) -> None:
    """The head is applied after the hidden states were made: it must be the past one then, too."""
    lora = Lora(rank=2, modules_to_save=("lm_head", "embed_tokens"))
    learner, rollouts = open_learner(threads=1, lora=lora), flatten(random_groups())
    learner.start_stage("")
    before = learner.logprobs(rollouts, 1.0)
    for _ in range(3):
        learner.backward(rollouts, 1.0, ones)
        learner.step(4.0, 1e-2)
    assert (learner.logprobs(rollouts, 1.0) - before).abs().max() > 1e-2
    torch.testing.assert_close(learner.logprobs(rollouts, 1.0, reference=True), before, rtol=1e-5, atol=1e-5)
