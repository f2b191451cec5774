"""The local learner: gradients that do not depend on how they were computed, updates that are finite, states that
continue to the bit."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from groupwise.algorithm import Outputs
from groupwise.learners.local import LocalLearner, micro_batches
from groupwise.types import Example, Group, Prompt, Rollout, flatten

Open = Callable[..., LocalLearner]
RandomGroups = Callable[..., list[Group]]


def likelihood(rows: Any, outputs: Outputs) -> Outputs:
    """J = Σ log π: a coefficient of 1 everywhere."""
    return Outputs(torch.ones_like(outputs.logprobs))


def gradients(learner: LocalLearner) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in learner.model.named_parameters() if p.grad is not None}


def learn(learner: LocalLearner, groups: list[Group], steps: int = 2) -> None:
    rollouts = flatten(groups)
    for _ in range(steps):
        learner.accumulate(rollouts, 1.0, likelihood)
        learner.step(len(rollouts), 1e-2)


def parameters(learner: LocalLearner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.weights().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_accumulate_is_minus_the_gradient_of_the_objective(open_learner: Open, random_groups: RandomGroups) -> None:
    """Autograd of Σ log π on the whole batch, with the one minus sign."""
    learner, rollouts = open_learner(dtype="float64"), flatten(random_groups())
    learner.accumulate(rollouts, 1.3, likelihood)
    found = gradients(learner)
    learner.model.zero_grad()
    logprobs, _ = learner._policy(rollouts, 1.3)
    (-logprobs.sum()).backward()
    for name, expected in gradients(learner).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-14, msg=name)


def test_the_objective_is_asked_about_every_row_once(open_learner: Open, random_groups: RandomGroups) -> None:
    learner, rollouts = open_learner(tokens_per_micro_batch=30), flatten(random_groups())
    asked: list[int] = []

    def objective(rows: Any, outputs: Outputs) -> Outputs:
        asked.extend(rows)
        assert outputs.logprobs.shape == (len(rows), max(len(rollouts[row].tokens) for row in rows))
        assert not outputs.logprobs.requires_grad
        assert outputs.entropy is not None
        return likelihood(rows, outputs)

    learner.accumulate(rollouts, 1.0, objective)
    assert sorted(asked) == list(range(len(rollouts)))
    assert asked != list(range(len(rollouts)))


def test_a_cotangent_that_would_be_lost_is_refused(open_learner: Open, random_groups: RandomGroups) -> None:
    def with_entropy(rows: Any, outputs: Outputs) -> Outputs:
        return Outputs(torch.ones_like(outputs.logprobs), entropy=torch.ones_like(outputs.logprobs))

    with pytest.raises(NotImplementedError, match="log-probabilities only"):
        open_learner().accumulate(flatten(random_groups()), 1.0, with_entropy)


def test_logprobs_come_back_in_the_order_of_the_rollouts(open_learner: Open, random_groups: RandomGroups) -> None:
    rollouts = flatten(random_groups())
    whole = open_learner(dtype="float64").logprobs(rollouts, 1.0)
    split = open_learner(dtype="float64", tokens_per_micro_batch=1).logprobs(rollouts, 1.0)
    torch.testing.assert_close(split, whole, rtol=1e-12, atol=1e-12)
    assert not whole.requires_grad
    for row, rollout in enumerate(rollouts):
        mask = torch.tensor([*rollout.mask, *[False] * (whole.shape[1] - len(rollout.mask))])
        assert (whole[row][~mask] == 0).all()
        assert (whole[row][mask] < 0).all()


def test_a_step_divides_by_the_count(open_learner: Open, random_groups: RandomGroups) -> None:
    """The norm it reports is of the divided gradient, before it is clipped."""
    norms = []
    for count in (1.0, 8.0):
        learner = open_learner(max_grad_norm=0.5)
        learner.accumulate(flatten(random_groups()), 1.0, likelihood)
        norms.append(learner.step(count, 1e-3)["grad_norm"])
    assert norms[0] == pytest.approx(8 * norms[1], rel=1e-5)


def test_a_step_starts_the_next_gradient_from_nothing(open_learner: Open, random_groups: RandomGroups) -> None:
    learner = open_learner()
    learn(learner, random_groups(), steps=1)
    assert gradients(learner) == {}
    assert learner.version == 1


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_is_left_out_and_counted(
    open_learner: Open, random_groups: RandomGroups, poison: float
) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    before = parameters(learner)
    learner.accumulate(rollouts, 1.0, lambda rows, outputs: Outputs(torch.full_like(outputs.logprobs, poison)))
    metrics = learner.step(9, 1e-2)
    assert metrics["skipped_updates"] == 1.0
    assert same(parameters(learner), before)
    assert learner.version == 0
    learner.accumulate(rollouts, 1.0, likelihood)
    assert learner.step(9, 1e-2)["skipped_updates"] == 0.0
    assert not same(parameters(learner), before)
    assert all(tensor.isfinite().all() for tensor in learner.weights().values())


def test_weights_are_shared_and_bear_checkpoint_names(open_learner: Open) -> None:
    learner = open_learner()
    own = dict(learner.model.named_parameters())
    for name, tensor in learner.weights().items():
        assert tensor.data_ptr() == own[name].data_ptr()
        assert not tensor.requires_grad


def test_what_is_saved_gives_the_same_logits_to_the_bit(
    open_learner: Open, random_groups: RandomGroups, tmp_path: Path
) -> None:
    """Also where the engine has laid its weights side by side."""
    from groupwise.engines import Native

    learner = open_learner()
    Native().open(learner.model)
    learn(learner, random_groups())
    learner.save(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, learner.model(tokens).logits)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.chat_template == learner.tokenizer.chat_template
    assert tokenizer("3 + 4")["input_ids"] == learner.tokenizer("3 + 4")["input_ids"]
    assert GenerationConfig.from_pretrained(tmp_path / "model").eos_token_id == tokenizer.eos_token_id


def test_state_continues_to_the_bit(open_learner: Open, random_groups: RandomGroups, tmp_path: Path) -> None:
    """Saved after two steps, through a file, and two more: the same parameters as four in one go."""
    from groupwise.learners import Local

    straight = open_learner()
    straight.start_stage(reference=True)
    learn(straight, random_groups(), steps=2)
    straight.save(tmp_path / "model")
    buffer = io.BytesIO()
    torch.save(straight.state(), buffer)
    buffer.seek(0)
    learn(straight, random_groups(1), steps=2)

    resumed = Local(device="cpu").open(tmp_path / "model")
    resumed.start_stage(reference=True)
    resumed.load_state(torch.load(buffer, weights_only=True))
    learn(resumed, random_groups(1), steps=2)
    assert same(parameters(resumed), parameters(straight))
    assert resumed.version == straight.version == 4
    rollouts = flatten(random_groups(2))
    references = [learner.logprobs(rollouts, 1.0, reference=True) for learner in (resumed, straight)]
    assert torch.equal(*references)


def test_the_reference_is_the_policy_at_the_stages_start(open_learner: Open, random_groups: RandomGroups) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    with pytest.raises(RuntimeError, match="reference"):
        learner.logprobs(rollouts, 1.0, reference=True)
    learner.start_stage(reference=True)
    before = learner.logprobs(rollouts, 1.0)
    learn(learner, random_groups())
    assert torch.equal(learner.logprobs(rollouts, 1.0, reference=True), before)
    assert not torch.equal(learner.logprobs(rollouts, 1.0), before)
    learner.start_stage(reference=False)
    with pytest.raises(RuntimeError, match="reference"):
        learner.logprobs(rollouts, 1.0, reference=True)


def test_stop_tokens_are_those_of_the_generation_config(open_learner: Open) -> None:
    learner = open_learner()
    assert learner.stop_tokens == (learner.tokenizer.eos_token_id,)
    assert learner.context_tokens == 128


@given(
    lengths=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=20),
    budget=st.integers(1, 200),
)
def test_micro_batches_hold_every_row_once_within_the_budget(lengths: list[tuple[int, int]], budget: int) -> None:
    """A row that exceeds the budget by itself goes alone."""
    rollouts = [row_of(prompt, tokens) for prompt, tokens in lengths]
    batches = list(micro_batches(rollouts, budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(sum(lengths[row]) for row in batch) <= budget


def row_of(prompt: int, tokens: int) -> Rollout:
    return Rollout(
        Prompt(Example("", ""), (5,) * prompt), (6,) * tokens, (True,) * tokens, (0.0,) * tokens, "", True, 0
    )
