"""The critic: values that begin at 0, learn what they are told, and move the policy only where they share its trunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from groupwise.algorithm import Outputs
from groupwise.errors import UserError
from groupwise.learners.forward import new_critic
from groupwise.learners.local import LocalLearner
from groupwise.learners.logprobs import LanguageModel
from groupwise.learners.placement import ONE_PROCESS
from groupwise.types import Group, flatten

Open = Callable[..., LocalLearner]
RandomGroups = Callable[..., list[Group]]
VALUES = frozenset({"values"})
both_critics = pytest.mark.parametrize("critic", ["head", "own"])


def towards(target: float) -> Callable[[Any, Outputs], Outputs]:
    """J = -Σ (V - target)² / 2: the value regression alone, no policy objective."""

    def coefficients(rows: Any, outputs: Outputs) -> Outputs:
        assert outputs.values is not None
        return Outputs(torch.zeros_like(outputs.logprobs), values=target - outputs.values)

    return coefficients


def likelihood_and_values(rows: Any, outputs: Outputs) -> Outputs:
    assert outputs.values is not None
    return Outputs(torch.ones_like(outputs.logprobs), values=torch.ones_like(outputs.values) - outputs.values)


def parameters(learner: LocalLearner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.weights()}


@both_critics
def test_values_begin_at_zero_and_learn_the_return(
    open_learner: Open, random_groups: RandomGroups, critic: Any
) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    learner.start_stage(reference=None, critic=critic)
    assert not learner.values(rollouts).any()
    for _ in range(60):
        learner.backward(rollouts, 1.0, towards(2.0), outputs=VALUES)
        learner.step(sum(map(len, (rollout.tokens for rollout in rollouts))), 0.0, critic_learning_rate=3e-2)
    values = learner.values(rollouts)
    assert values.shape == (len(rollouts), max(len(rollout.tokens) for rollout in rollouts))
    assert not values.requires_grad
    for row, rollout in zip(values, rollouts, strict=True):
        mask = torch.tensor([*rollout.mask, *[False] * (len(row) - len(rollout.mask))])
        assert not row[~mask].any()
        assert (row[mask] - 2).abs().mean() < 0.4


def test_a_head_reads_the_state_before_the_token(open_learner: Open, random_groups: RandomGroups) -> None:
    """The hidden state whose logits predict the token, by hand from transformers' own forward pass."""
    learner, rollouts = open_learner(dtype="float64"), flatten(random_groups())
    learner.start_stage(reference=None, critic="head")
    assert learner._critic is not None
    torch.nn.init.normal_(learner._critic.head.weight)
    found = learner.values(rollouts)
    for row, rollout in enumerate(rollouts):
        ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
        with torch.no_grad():
            hidden = learner.model(ids, output_hidden_states=True).hidden_states[-1][
                0, len(rollout.prompt.tokens) - 1 :
            ]
            expected = learner._critic.head(hidden[:-1])[:, 0] * torch.tensor(rollout.mask)
        torch.testing.assert_close(found[row, : len(expected)], expected, atol=1e-10, rtol=1e-10)


@both_critics
def test_a_value_is_of_what_came_before_it(open_learner: Open, random_groups: RandomGroups, critic: Any) -> None:
    """The last token does not change its own value."""
    learner, rollout = open_learner(), max(flatten(random_groups()), key=lambda one: len(one.tokens))
    learner.start_stage(reference=None, critic=critic)
    assert learner._critic is not None
    torch.nn.init.normal_(learner._critic.head.weight)
    other = replace(rollout, tokens=(*rollout.tokens[:-1], rollout.tokens[-1] - 1))
    values = learner.values([rollout, other])
    # Rows of one batch may differ in the last bits of a matrix product; a value that saw the token differs by far more.
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=1e-6)
    earlier = replace(rollout, tokens=(rollout.tokens[0] - 1, *rollout.tokens[1:]))
    assert (learner.values([earlier])[0] - values[0]).abs().max() > 1e-3


@both_critics
@pytest.mark.parametrize("budget", [8192, 40])
def test_one_backward_pass_equals_autograd_of_the_whole_loss(
    open_learner: Open, random_groups: RandomGroups, critic: Any, budget: int
) -> None:
    """Log-probabilities, entropy, exact KL and values together, with the one minus sign, whatever the micro-batches."""
    learner, rollouts = open_learner(dtype="float64", tokens_per_micro_batch=budget), flatten(random_groups())
    learner.start_stage(reference="", critic=critic)
    assert learner._critic is not None
    torch.nn.init.normal_(learner._critic.head.weight)
    with torch.no_grad():
        learner.model.model.layers[0].mlp.up_proj.weight.mul_(1.5)  # away from the reference
    wanted = frozenset({"entropy", "values", "exact_kl"})

    def all_four(rows: Any, outputs: Outputs) -> Outputs:
        assert outputs.values is not None
        ones = torch.ones_like(outputs.logprobs)
        return Outputs(ones, entropy=0.3 * ones, values=1 - outputs.values, exact_kl=-0.7 * ones)

    everything = [*learner.model.parameters(), *learner._critic.parameters()]
    learner.backward(rollouts, 1.3, all_four, outputs=wanted)
    found = [None if parameter.grad is None else parameter.grad.clone() for parameter in everything]
    for parameter in everything:
        parameter.grad = None
    said = learner._outputs(rollouts, 1.3, wanted)
    assert said.values is not None
    assert said.entropy is not None
    assert said.exact_kl is not None
    mask = said.logprobs != 0
    regression = ((1 - said.values)[mask] ** 2 / 2).sum()
    (regression - said.logprobs.sum() - 0.3 * said.entropy.sum() + 0.7 * said.exact_kl.sum()).backward()
    assert all(parameter.grad is not None for parameter in learner._critic.parameters())
    for parameter, gradient in zip(everything, found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-9, atol=1e-12)


@both_critics
def test_a_head_moves_the_trunk_and_an_own_network_does_not(
    open_learner: Open, random_groups: RandomGroups, critic: Any
) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    learner.start_stage(reference=None, critic=critic)
    for _ in range(2):  # at first the head's weights are 0 and hold the gradient back
        before = parameters(learner)
        learner.backward(rollouts, 1.0, towards(1.0), outputs=VALUES)
        learner.step(9, 1e-2, critic_learning_rate=1e-2)
    moved = [name for name, tensor in learner.weights() if not torch.equal(tensor, before[name])]
    assert bool(moved) == (critic == "head")


@both_critics
def test_policy_and_critic_have_their_own_learning_rate_and_norm(
    open_learner: Open, random_groups: RandomGroups, critic: Any
) -> None:
    learner, rollouts = open_learner(max_grad_norm=0.5), flatten(random_groups())
    learner.start_stage(reference=None, critic=critic)
    assert learner._critic is not None
    policy, head = parameters(learner), learner._critic.head.weight.clone()
    learner.backward(rollouts, 1.0, likelihood_and_values, outputs=VALUES)
    metrics = learner.step(9, 1e-3, critic_learning_rate=0.0)
    assert metrics["grad_norm"] > 0
    assert metrics["critic_grad_norm"] > 0
    assert metrics["learning_rate"] == 1e-3
    assert torch.equal(learner._critic.head.weight, head)
    assert any(not torch.equal(tensor, policy[name]) for name, tensor in learner.weights())
    policy = parameters(learner)
    learner.backward(rollouts, 1.0, likelihood_and_values, outputs=VALUES)
    learner.step(9, 0.0, critic_learning_rate=1e-3)
    assert not torch.equal(learner._critic.head.weight, head)
    assert all(torch.equal(tensor, policy[name]) for name, tensor in learner.weights())


def test_each_is_clipped_by_its_own_norm(open_learner: Open, random_groups: RandomGroups) -> None:
    """A critic whose gradient is a million times too long does not shorten the policy's step."""
    rollouts, steps = flatten(random_groups()), []
    for size in (1.0, 1e6):
        learner = open_learner(max_grad_norm=0.5)
        learner.start_stage(reference=None, critic="own")
        before = parameters(learner)

        def loud(rows: Any, outputs: Outputs, size: float = size) -> Outputs:
            assert outputs.values is not None
            return Outputs(torch.ones_like(outputs.logprobs), values=torch.full_like(outputs.values, size))

        learner.backward(rollouts, 1.0, loud, outputs=VALUES)
        learner.step(9, 1e-3, critic_learning_rate=1e-3)
        steps.append({name: tensor - before[name] for name, tensor in learner.weights()})
    for name, step in steps[0].items():
        assert torch.equal(step, steps[1][name])


@both_critics
@pytest.mark.parametrize("poisoned", ["logprobs", "values"])
def test_where_either_gradient_is_not_finite_nothing_moves(
    open_learner: Open, random_groups: RandomGroups, critic: Any, poisoned: str
) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    learner.start_stage(reference=None, critic=critic)
    assert learner._critic is not None

    def poison(rows: Any, outputs: Outputs) -> Outputs:
        ones, bad = torch.ones_like(outputs.logprobs), torch.full_like(outputs.logprobs, float("nan"))
        return Outputs(bad if poisoned == "logprobs" else ones, values=bad if poisoned == "values" else ones)

    policy, head = parameters(learner), learner._critic.head.weight.clone()
    learner.backward(rollouts, 1.0, poison, outputs=VALUES)
    metrics = learner.step(9, 1e-2, critic_learning_rate=1e-2)
    assert metrics["skipped_updates"] == 1.0
    assert learner.version == 0
    assert torch.equal(learner._critic.head.weight, head)
    assert all(torch.equal(tensor, policy[name]) for name, tensor in learner.weights())
    learner.backward(rollouts, 1.0, likelihood_and_values, outputs=VALUES)
    assert learner.step(9, 1e-2, critic_learning_rate=1e-2)["skipped_updates"] == 0.0


@both_critics
def test_half_precision_keeps_values_in_float32(open_learner: Open, random_groups: RandomGroups, critic: Any) -> None:
    learner, rollouts = open_learner(dtype="bfloat16"), flatten(random_groups())
    learner.start_stage(reference="", critic=critic)
    wanted = VALUES | {"exact_kl", "entropy"}

    def everything(rows: Any, outputs: Outputs) -> Outputs:
        assert outputs.values is not None
        assert outputs.exact_kl is not None
        assert outputs.values.dtype == outputs.logprobs.dtype == outputs.exact_kl.dtype == torch.float32
        ones = torch.ones_like(outputs.logprobs)
        return Outputs(ones, entropy=ones, values=1.2345 - outputs.values, exact_kl=-ones)

    for _ in range(3):
        learner.backward(rollouts, 1.0, everything, outputs=wanted)
        metrics = learner.step(9, 1e-3, critic_learning_rate=1e-2)
        assert metrics["skipped_updates"] == 0.0
    assert learner.values(rollouts).abs().max() > 0.01
    assert {tensor.dtype for tensor in dict(learner.weights()).values()} == {torch.bfloat16}


def test_without_a_critic_there_are_no_values(open_learner: Open, random_groups: RandomGroups) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    learner.start_stage(reference=None, critic="head")
    learner.start_stage(reference=None)
    with pytest.raises(RuntimeError, match="no critic"):
        learner.values(rollouts)
    with pytest.raises(RuntimeError, match="no critic"):
        learner.backward(rollouts, 1.0, likelihood_and_values, outputs=VALUES)


@pytest.mark.parametrize("own", [False, True])
def test_an_architecture_without_a_trunk_is_refused_by_name(own: bool) -> None:
    config = transformers.CohereConfig(
        vocab_size=61, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        pad_token_id=0, eos_token_id=1, bos_token_id=2, logit_scale=0.25,
    )  # fmt: skip
    causal = transformers.CohereForCausalLM(config).eval()
    causal.base_model_prefix = "nothing"  # then base_model is the model itself
    with pytest.raises(UserError, match="architecture cohere: a critic") as caught:
        new_critic(ONE_PROCESS, LanguageModel(causal), own, placed=True)
    assert "\n" not in str(caught.value)
