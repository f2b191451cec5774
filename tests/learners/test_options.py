"""Options of the learner: the same gradient in less memory, rounded weights with exact copies, adapters, threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from groupwise import Lora
from groupwise.algorithm import Outputs
from groupwise.errors import UserError
from groupwise.learners import Local, thread_trial
from groupwise.learners.adamw8 import AdamW8
from groupwise.learners.local import LocalLearner
from groupwise.types import Group, Rollout, flatten

Open = Callable[..., LocalLearner]
RandomGroups = Callable[..., list[Group]]
LORA = Lora(rank=4, alpha=8.0)


def likelihood(rows: Any, outputs: Outputs) -> Outputs:
    return Outputs(torch.ones_like(outputs.logprobs))


def learn(learner: LocalLearner, rollouts: list[Rollout], steps: int = 2, rate: float = 1e-2) -> None:
    for _ in range(steps):
        learner.backward(rollouts, 1.0, likelihood)
        learner.step(len(rollouts), rate)


def gradients(learner: LocalLearner) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in learner._policy.model.named_parameters() if p.grad is not None}


def mean(learner: LocalLearner, rollouts: list[Rollout], **options: Any) -> float:
    return float(learner.logprobs(rollouts, 1.0, **options).mean())


def resumed(learner: LocalLearner, directory: Path, **options: Any) -> LocalLearner:
    learner.save(directory)
    learner.write(directory)
    other = Local(**{"device": "cpu"} | options).open(directory)
    other.start_stage("")
    other.read(directory)
    return other


@pytest.mark.parametrize("lora", [Lora(), LORA])
def test_checkpointing_changes_no_bit(open_learner: Open, random_groups: RandomGroups, lora: Lora) -> None:
    rollouts, found = flatten(random_groups()), []
    for checkpointing in (False, True):
        learner = open_learner(checkpointing=checkpointing, lora=lora)
        learner.backward(rollouts, 1.0, likelihood)
        found.append(gradients(learner))
    assert found[0].keys() == found[1].keys() != set()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_checkpointing_keeps_less(open_learner: Open, random_groups: RandomGroups) -> None:
    """Bytes that the forward pass saves for the backward pass."""
    rollouts, kept = flatten(random_groups()), []
    for checkpointing in (False, True):
        learner, sizes = open_learner(checkpointing=checkpointing), [0]

        def size(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes[0] += tensor.numel() if not isinstance(tensor, nn.Parameter) else 0
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(size, lambda tensor: tensor):
            learner._outputs(rollouts, 1.0, frozenset())
        kept.append(sizes[0])
    assert kept[1] < kept[0] / 2


def test_small_steps_are_not_lost_to_rounding(open_learner: Open, random_groups: RandomGroups) -> None:
    """Steps of 1e-5 on weights in bfloat16, which has three digits: only their float32 copies can add them up."""
    learner, rollouts = open_learner(dtype="bfloat16"), flatten(random_groups())
    before = {name: tensor.clone() for name, tensor in learner.weights()}
    learn(learner, rollouts, steps=30, rate=1e-5)
    masters = learner._optimizer.masters
    assert {parameter.dtype for parameter, _ in masters} == {torch.bfloat16}
    assert {master.dtype for _, master in masters} == {torch.float32}
    assert all(torch.equal(parameter, master.bfloat16()) for parameter, master in masters)
    moved = sum(int((tensor != before[name]).sum()) for name, tensor in learner.weights())
    assert moved > 0
    assert sum(float((m - p.float()).detach().abs().sum()) for p, m in masters) > 0


def test_gradients_of_micro_batches_are_summed_in_float32(open_learner: Open, random_groups: RandomGroups) -> None:
    rollouts = flatten(random_groups(groups=4))
    exact, rounded = open_learner(), open_learner(dtype="bfloat16", tokens_per_micro_batch=1)
    for learner in (exact, rounded):
        learner.backward(rollouts, 1.0, likelihood)
    masters = {id(parameter): master for parameter, master in rounded._optimizer.masters}
    for name, parameter in rounded.model.named_parameters():
        theirs, ours = dict(exact.model.named_parameters())[name].grad, masters[id(parameter)].grad
        assert parameter.grad is None
        assert ours is not None
        assert theirs is not None
        assert (ours - theirs).norm() < 0.05 * theirs.norm()


OPTIONS: dict[str, dict[str, Any]] = {
    "bfloat16": {"dtype": "bfloat16"},
    "8 bit": {"optimizer_bits": 8},
    "adapters": {"lora": LORA},
    "adapters, bfloat16, 8 bit": {"lora": LORA, "dtype": "bfloat16", "optimizer_bits": 8},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_state_on_the_disk_continues_to_the_bit(
    open_learner: Open, random_groups: RandomGroups, tmp_path: Path, options: dict[str, Any]
) -> None:
    rollouts = flatten(random_groups())
    straight = open_learner(**options)
    straight.start_stage("")
    learn(straight, rollouts)
    again = resumed(straight, tmp_path / "model", **options)
    for learner in (straight, again):
        learn(learner, rollouts)
    ours, theirs = dict(straight.weights()), dict(again.weights())
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    references = [learner.logprobs(rollouts, 1.0, reference=True) for learner in (straight, again)]
    assert torch.equal(*references)


def test_a_state_of_eight_bits_steps_like_one_of_thirty_two() -> None:
    """A quadratic with curvatures from 1e-2 to 1e2 and noise: both come equally near, on nearly the same way."""
    draw = torch.Generator().manual_seed(0)
    curvature = torch.logspace(-2, 2, 8192)
    start, ways = torch.randn(8192, generator=draw), []
    for kind in ("exact", "rounded"):
        parameter = nn.Parameter(start.clone())
        optimizer: Any = (
            AdamW8([[parameter]], (0.9, 0.95), 0.01)
            if kind == "rounded"
            else torch.optim.AdamW([parameter], betas=(0.9, 0.95), weight_decay=0.01)
        )
        optimizer.param_groups[0]["lr"] = 1e-2
        noise = torch.Generator().manual_seed(1)
        for _ in range(200):
            parameter.grad = curvature * (parameter.detach() + 0.1 * torch.randn(8192, generator=noise))
            optimizer.step()
        ways.append(parameter.detach() - start)
    assert (ways[0] - ways[1]).norm() < 0.05 * ways[0].norm()
    assert abs(float((start + ways[0]).norm() / (start + ways[1]).norm()) - 1) < 0.05


def test_a_state_of_eight_bits_is_small() -> None:
    parameters = [nn.Parameter(torch.zeros(300, 500)), nn.Parameter(torch.zeros(64))]
    states = AdamW8([parameters], (0.9, 0.95), 0.0).state_dict()["states"]
    sizes = [sum(part.numel() * part.element_size() for part in parts) for parts in states]
    assert sizes[0] < 2.1 * 300 * 500
    assert sizes[1] == 8 * 64


def test_small_parameters_step_exactly() -> None:
    draw = torch.Generator().manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(100)) for _ in range(2))
    rounded = AdamW8([[ours]], (0.9, 0.95), 0.1)
    exact = torch.optim.AdamW([theirs], betas=(0.9, 0.95), weight_decay=0.1, lr=1e-3)
    rounded.param_groups[0]["lr"] = 1e-3
    for _ in range(5):
        ours.grad = torch.randn(100, generator=draw)
        theirs.grad = ours.grad.clone()
        rounded.step()
        exact.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_adapters_alone_learn(open_learner: Open, random_groups: RandomGroups) -> None:
    """What is sampled from moves where the adapters are, and nowhere else; the reference is the model without them."""
    learner, rollouts = open_learner(lora=LORA), flatten(random_groups())
    learner.start_stage("")
    before = {name: tensor.clone() for name, tensor in learner.weights()}
    start = mean(learner, rollouts)
    assert mean(learner, rollouts, reference=True) == start
    learn(learner, rollouts, steps=8, rate=2e-2)
    assert mean(learner, rollouts) > start + 0.1
    assert mean(learner, rollouts, reference=True) == start
    moved = {name for name, tensor in learner.weights() if not torch.equal(tensor, before[name])}
    in_blocks = {name for name in before if ".layers." in name and "norm" not in name and name.endswith(".weight")}
    assert moved == in_blocks
    learner.refresh_reference()
    now = mean(learner, rollouts)
    learn(learner, rollouts)
    assert mean(learner, rollouts, reference=True) == now


def test_the_model_that_is_sampled_from_has_the_adapters_in(open_learner: Open, random_groups: RandomGroups) -> None:
    learner, rollouts = open_learner(lora=LORA, dtype="float64"), flatten(random_groups())
    learn(learner, rollouts)
    plain = open_learner(dtype="float64")
    with torch.no_grad():
        for name, tensor in learner.weights():
            plain.model.get_parameter(name).copy_(tensor)
    torch.testing.assert_close(plain.logprobs(rollouts, 1.0), learner.logprobs(rollouts, 1.0), rtol=1e-7, atol=1e-7)


def test_peft_loads_adapters_and_transformers_the_merged_model(
    open_learner: Open, tiny_model: Path, random_groups: RandomGroups, tmp_path: Path
) -> None:
    from peft import PeftModel

    learner, rollouts = open_learner(lora=LORA), flatten(random_groups())
    learn(learner, rollouts)
    learner.save(tmp_path / "model")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "model" / "adapter"))
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        torch.testing.assert_close(adapted(tokens).logits, merged(tokens).logits, rtol=1e-4, atol=1e-5)
        assert torch.equal(merged(tokens).logits, learner.model(tokens).logits)


def test_a_target_that_is_not_there_is_named(open_learner: Open) -> None:
    with pytest.raises(
        UserError, match=r"no linear layer named query; expected all-linear or some of .*q_proj"
    ) as caught:
        open_learner(lora=Lora(rank=2, targets=("query", "v_proj")))
    assert "\n" not in str(caught.value)


@pytest.fixture
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("own_threads")
def test_threads_are_chosen_by_trial_and_kept_by_a_resumed_run(
    open_learner: Open, random_groups: RandomGroups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(3)
    tried: list[int] = []

    def fastest(most: int, step: Callable[[int], None]) -> int:
        step(2)
        tried.append(most)
        return 2

    monkeypatch.setattr(thread_trial, "fastest", fastest)
    with thread_trial.one_thread_plan():
        learner = open_learner()
        assert gradients(learner) == {}
        assert (learner.threads, tried) == (2, [3])
        assert open_learner().threads == 2
        assert tried == [3]
        learn(learner, flatten(random_groups()), steps=1)
        assert torch.get_num_threads() == 2  # sampling goes on with as many
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    with thread_trial.one_thread_plan():
        again = resumed(learner, tmp_path / "model")
        assert again.threads == 2
        learn(again, flatten(random_groups()), steps=1)
        assert open_learner(threads=3).threads == torch.get_num_threads() == 3
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("own_threads")
def test_plans_are_tried_each_by_itself(open_learner: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs in one process share no number; a learner outside of any run changes nothing around it."""
    torch.set_num_threads(3)
    answers = iter((2, 1, 3))
    monkeypatch.setattr(thread_trial, "fastest", lambda most, step: next(answers))
    found = []
    for _ in range(2):
        with thread_trial.one_thread_plan():
            found.append((open_learner().threads, open_learner().threads, torch.get_num_threads()))
    assert found == [(2, 2, 2), (1, 1, 1)]
    assert open_learner().threads == torch.get_num_threads() == 3
    assert open_learner(threads=1).threads == 1
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("own_threads")
@pytest.mark.parametrize(("costs", "chosen"), [((1, 2, 3), 1), ((9, 5, 1), 3), ((9, 0.9, 1), 3), ((9, 0.5, 1), 2)])
def test_fewer_threads_are_taken_only_where_they_are_faster_by_far(
    costs: tuple[float, ...], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1, 2 and 3 threads; a tenth less may be chance."""
    clock = [0.0]
    monkeypatch.setattr(thread_trial.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(thread_trial.time, "process_time", lambda: clock[0])

    def step(count: int) -> None:
        clock[0] += costs[count - 1]

    assert thread_trial.fastest(3, step) == chosen


@pytest.mark.usefixtures("own_threads")
@pytest.mark.parametrize(("work", "chosen"), [((1.0, 1.2), 2), ((1.0, 3.0), 1)])
def test_a_trial_among_others_at_work_goes_by_cpu_time(
    work: tuple[float, ...], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread and two take four seconds each on a busy machine; two are twice as fast once it is quiet, unless they
    spend the time on waiting for each other."""
    clock, spent = [0.0], [0.0]
    monkeypatch.setattr(thread_trial.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(thread_trial.time, "process_time", lambda: spent[0])

    def step(count: int) -> None:
        clock[0] += 4
        spent[0] += work[count - 1]

    assert thread_trial.fastest(2, step) == chosen
