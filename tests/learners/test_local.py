"""The local learner: gradients that do not depend on how they were computed, updates that are finite, states that
continue to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from groupwise.algorithm import Outputs
from groupwise.learners.local import LocalLearner
from groupwise.types import Group, flatten

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
        learner.backward(rollouts, 1.0, likelihood)
        learner.step(len(rollouts), 1e-2)


def parameters(learner: LocalLearner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.weights()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_accumulate_is_minus_the_gradient_of_the_objective(open_learner: Open, random_groups: RandomGroups) -> None:
    """Autograd of Σ log π on the whole batch, with the one minus sign."""
    learner, rollouts = open_learner(dtype="float64"), flatten(random_groups())
    learner.backward(rollouts, 1.3, likelihood)
    found = gradients(learner)
    learner.model.zero_grad()
    whole = learner._outputs(rollouts, 1.3, frozenset())
    (-whole.logprobs.sum()).backward()
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

    learner.backward(rollouts, 1.0, objective)
    assert sorted(asked) == list(range(len(rollouts)))
    assert asked != list(range(len(rollouts)))


@pytest.mark.parametrize("name", ["entropy", "values", "exact_kl"])
def test_a_cotangent_that_would_be_lost_is_refused(open_learner: Open, random_groups: RandomGroups, name: str) -> None:
    def unasked(rows: Any, outputs: Outputs) -> Outputs:
        ones = torch.ones_like(outputs.logprobs)
        return replace(Outputs(ones), **{name: ones})

    learner = open_learner()
    learner.start_stage(reference="", critic="head")
    with pytest.raises(ValueError, match=f"cotangent of {name} would be lost"):
        learner.backward(flatten(random_groups()), 1.0, unasked)


def test_an_entropy_bonus_raises_entropy(open_learner: Open, random_groups: RandomGroups) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    learn(learner, random_groups(), steps=3)
    means: list[float] = []

    def bonus(rows: Any, outputs: Outputs) -> Outputs:
        assert outputs.entropy is not None
        means.append(float(outputs.entropy.mean()))
        return Outputs(torch.zeros_like(outputs.logprobs), entropy=torch.ones_like(outputs.logprobs))

    for _ in range(3):
        learner.backward(rollouts, 1.0, bonus, outputs=frozenset({"entropy"}))
        learner.step(len(rollouts), 1e-3)
    assert means[0] < means[1] < means[2]


def test_an_output_that_was_asked_for_may_get_no_cotangent(open_learner: Open, random_groups: RandomGroups) -> None:
    """As where its coefficient happens to be 0: the rest goes back."""
    plain, asked = open_learner(), open_learner()
    for learner, wanted in ((plain, frozenset()), (asked, frozenset({"entropy", "exact_kl", "values"}))):
        learner.start_stage(reference="", critic="head")
        learner.backward(flatten(random_groups()), 1.0, likelihood, outputs=wanted)
    for name, gradient in gradients(asked).items():
        torch.testing.assert_close(gradient, gradients(plain)[name], rtol=1e-4, atol=1e-5, msg=name)


def test_rows_that_belong_together_are_asked_about_together(open_learner: Open, random_groups: RandomGroups) -> None:
    learner, rollouts = open_learner(tokens_per_micro_batch=30), flatten(random_groups())
    together = [row % 4 for row in range(len(rollouts))]
    asked: list[list[int]] = []

    def objective(rows: Any, outputs: Outputs) -> Outputs:
        asked.append(list(rows))
        return likelihood(rows, outputs)

    learner.backward(rollouts, 1.0, objective, together=together)
    assert sorted(row for rows in asked for row in rows) == list(range(len(rollouts)))
    assert len({(together[row], number) for number, rows in enumerate(asked) for row in rows}) == 4


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
        learner.backward(flatten(random_groups()), 1.0, likelihood)
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
    learner.backward(rollouts, 1.0, lambda rows, outputs: Outputs(torch.full_like(outputs.logprobs, poison)))
    metrics = learner.step(9, 1e-2)
    assert metrics["skipped_updates"] == 1.0
    assert same(parameters(learner), before)
    assert learner.version == 0
    learner.backward(rollouts, 1.0, likelihood)
    assert learner.step(9, 1e-2)["skipped_updates"] == 0.0
    assert not same(parameters(learner), before)
    assert all(tensor.isfinite().all() for tensor in dict(learner.weights()).values())


def test_weights_are_shared_and_bear_checkpoint_names(open_learner: Open) -> None:
    learner = open_learner()
    own = dict(learner.model.named_parameters(remove_duplicate=False))
    for name, tensor in learner.weights():
        assert tensor.data_ptr() == own[name].data_ptr()
        assert not tensor.requires_grad


def test_what_is_saved_gives_the_same_logits_to_the_bit(
    open_learner: Open, random_groups: RandomGroups, tmp_path: Path
) -> None:
    """Also where the engine has laid its weights side by side."""
    from groupwise.engines import Native

    learner = open_learner()
    Native().open(learner.directory, learner.live_module(), learner.tokenizer)
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


def everything(rows: Any, outputs: Outputs) -> Outputs:
    """Likelihood, away from the reference, values towards 1."""
    ones = torch.ones_like(outputs.logprobs)
    values = None if outputs.values is None else 1 - outputs.values
    return Outputs(ones, exact_kl=None if outputs.exact_kl is None else 0.5 * ones, values=values)


def go_on(learner: LocalLearner, groups: list[Group], critic: str) -> None:
    rollouts, wanted = flatten(groups), {"exact_kl"} | ({"values"} if critic != "none" else set())
    for _ in range(2):
        learner.backward(rollouts, 1.0, everything, frozenset(wanted))
        learner.step(len(rollouts), 1e-2, critic_learning_rate=2e-2)


def critic_of(learner: LocalLearner) -> dict[str, Tensor]:
    return dict(learner._critic.state_dict()) if learner._critic else {}


@pytest.mark.parametrize("critic", ["none", "head", "own"])
@pytest.mark.parametrize("reference", ["", "refreshed", "path", "path, refreshed"])
def test_a_state_on_the_disk_continues_to_the_bit(
    open_learner: Open, tiny_model: Path, random_groups: RandomGroups, tmp_path: Path, critic: Any, reference: str
) -> None:
    """Saved after two steps as a run saves it, and two more in another learner: the same bits as four in one go."""
    from groupwise.learners import Local, NewModel

    teacher = ""
    if reference.startswith("path"):
        teacher = str(tmp_path / "teacher")
        NewModel(hidden_size=48, layers=1, heads=2, intermediate_size=64, context_tokens=128).save(Path(teacher), 3)
    straight = open_learner()
    straight.start_stage(teacher, critic)
    go_on(straight, random_groups(), critic)
    if reference.endswith("refreshed"):
        straight.refresh_reference()
        go_on(straight, random_groups(3), critic)
    straight.save(tmp_path / "model")
    straight.write(tmp_path / "model")
    go_on(straight, random_groups(1), critic)

    resumed = Local(device="cpu").open(tmp_path / "model")
    resumed.start_stage(teacher, critic)
    resumed.read(tmp_path / "model")
    go_on(resumed, random_groups(1), critic)
    assert same(parameters(resumed), parameters(straight))
    assert same(critic_of(resumed), critic_of(straight))
    assert resumed.version == straight.version
    rollouts = flatten(random_groups(2))
    references = [learner.logprobs(rollouts, 1.0, reference=True) for learner in (resumed, straight)]
    assert torch.equal(*references)


def test_stop_tokens_are_those_of_the_generation_config(open_learner: Open) -> None:
    learner = open_learner()
    assert learner.stop_tokens == (learner.tokenizer.eos_token_id,)
    assert learner.context_tokens == 128
