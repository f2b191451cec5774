"""Where nothing is to be learned from a group nothing goes backward, and the update is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from groupwise import recipes
from groupwise.algorithm import Algorithm, ConstantLength, Entropy
from groupwise.learners import Lora, backward
from groupwise.learners.backward import rows_without_gradient
from groupwise.learners.local import LocalLearner
from groupwise.learners.placement import OneProcess
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Network
from groupwise.tasks.task import Task
from groupwise.training.stage import Stage
from groupwise.training.update import prepare
from groupwise.types import Group, flatten

Open = Callable[..., LocalLearner]
DR_GRPO = replace(recipes.dr_grpo, aggregation=ConstantLength(12))


@pytest.fixture
def groups(random_groups: Callable[..., list[Group]]) -> list[Group]:
    """Six groups of three; those of odd numbers are right throughout."""
    made = []
    for number, group in enumerate(random_groups(groups=6, size=3)):
        rewards = [1.0 if number % 2 else float(place == 0) for place in range(3)]
        pairs = zip(group.rollouts, rewards, strict=True)
        scored = tuple(replace(each, rewards={each.last: reward}) for each, reward in pairs)
        made.append(Group(group.prompt, scored))
    return made


def batch_of(algorithm: Algorithm, learner: LocalLearner, groups: list[Group]) -> TrainBatch:
    stage = Stage("stage", algorithm, Task("task", ()), 4, learning_rate=1e-3)
    return TrainBatch.of(algorithm, flatten(groups), prepare(stage, learner, groups))


def learned(learner: LocalLearner, algorithm: Algorithm, groups: list[Group]) -> dict[str, Any]:
    """Returns what a step said, and the parameters after it."""
    tally = learner.accumulate(batch_of(algorithm, learner, groups), algorithm)
    said = {"count": tally.count, **tally.sums, **learner.step(tally.count, 1e-3)}
    assert sorted(tally.rows) == list(range(len(flatten(groups))))
    return said | {f"parameter {name}": tensor.clone() for name, tensor in learner.weights()}


def alike(found: dict[str, Any], expected: dict[str, Any], close: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=close, atol=close, msg=name)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows went backward, micro-batch by micro-batch."""
    rows: list[int] = []
    plain = torch.autograd.backward

    def counted(tensors: list[Tensor], gradients: list[Tensor]) -> None:
        rows.append(len(tensors[0]))
        plain(tensors, gradients)

    monkeypatch.setattr(torch.autograd, "backward", counted)
    return rows


OPTIONS: dict[str, dict[str, Any]] = {
    "exact": {"dtype": "float64"},
    "many micro-batches": {"dtype": "float64", "tokens_per_micro_batch": 25},
    "adapters": {"dtype": "float64", "lora": Lora(rank=2)},
    "half precision": {"dtype": "bfloat16"},
    "an optimizer of 8 bits": {"dtype": "float64", "optimizer_bits": 8, "weight_decay": 0.1},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_steps_are_those_of_zeros_that_are_sent(
    open_learner: Open, groups: list[Group], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Steps of silent groups alone, first and where momentum moves, and of both kinds of groups."""
    silent, draws = [group for number, group in enumerate(groups) if number % 2], []
    for plain in (False, True):
        learner = open_learner(**options)
        learner.start_stage(None)
        if plain:
            monkeypatch.setattr(backward, "rows_without_gradient", lambda batch, algorithm: frozenset())
            monkeypatch.setattr(OneProcess, "silent", lambda self, cotangent: False)
        draws.append([learned(learner, DR_GRPO, own) for own in (silent, groups, silent, groups)])
    for found, expected in zip(*draws, strict=True):
        alike(found, expected, 0.02 if "bfloat16" in options.values() else 1e-9)
    moved = draws[0][2]["parameter model.embed_tokens.weight"] - draws[0][1]["parameter model.embed_tokens.weight"]
    assert moved.any() or "lora" in options


def test_silent_groups_stay_forward(open_learner: Open, groups: list[Group], sent: list[int]) -> None:
    """Nine rows learn, nine are only read; of a draw of silent groups nothing goes backward."""
    learner = open_learner(dtype="float64")
    batch = batch_of(DR_GRPO, learner, groups)
    assert rows_without_gradient(batch, DR_GRPO) == frozenset([3, 4, 5, 9, 10, 11, 15, 16, 17])
    learner.accumulate(batch, DR_GRPO)
    assert sent == [9]
    learner.step(batch.count, 1e-3)
    sent.clear()
    learner.accumulate(batch_of(DR_GRPO, learner, groups[1::2]), DR_GRPO)
    assert sent == []


def test_before_a_first_step_all_goes_backward(open_learner: Open, groups: list[Group], sent: list[int]) -> None:
    """Nobody knows yet which parameters a gradient comes to; and a trial of a first step is one."""
    learner = open_learner(dtype="float64")
    learner.accumulate(batch_of(DR_GRPO, learner, groups[1::2]), DR_GRPO)
    assert sent == [9]


def test_what_no_gradient_comes_to_stays(open_learner: Open, groups: list[Group]) -> None:
    """Such as what a model has beside its text: silent groups let no weights decay that others do not."""
    learner = open_learner(dtype="float64", weight_decay=0.1)
    learner.model.beside = nn.Parameter(torch.ones(3, dtype=torch.float64))
    learner.start_stage(None)
    for own in (groups[1::2], groups, groups[1::2]):
        learned(learner, DR_GRPO, own)
    assert learner.model.beside.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("network", ["head", "own"])
def test_a_critic_without_a_gradient_is_let_go_and_moves_on(
    open_learner: Open, groups: list[Group], monkeypatch: pytest.MonkeyPatch, network: Network
) -> None:
    """Its momentum moves it, as a gradient of zeros would; nothing of it stays whole that a step changes."""
    algorithm = replace(recipes.ppo, critic=replace(recipes.ppo.critic, network=network))
    learner = open_learner(dtype="float64")
    learner.start_stage("" if algorithm.needs_reference else None, network)
    batch, gone = batch_of(algorithm, learner, groups), list[Any]()
    monkeypatch.setattr(OneProcess, "let_go", lambda self, model: gone.append(model))
    learner.accumulate(batch, algorithm)
    learner.step(batch.count, 1e-3, 1e-3)
    assert learner._critic is not None
    before, critic = learner._critic.head.weight.clone(), learner._critic
    assert gone == []
    learner.backward(batch.rollouts, 1.0, lambda rows, said: said.map(torch.zeros_like), algorithm.outputs)
    assert [id(model) for model in gone] == [id(each) for each in (learner.model, critic.head, critic.trunk)]
    learner.step(batch.count, 1e-3, 1e-3)
    assert (critic.head.weight != before).any()


TERMS = {
    "a KL penalty": replace(recipes.grpo, kl=replace(recipes.grpo.kl, coefficient=0.1)),
    "an entropy bonus": replace(DR_GRPO, entropy=Entropy(0.01)),
}


@pytest.mark.parametrize("algorithm", TERMS.values(), ids=TERMS)
def test_other_terms_learn_from_equal_rewards(
    open_learner: Open, groups: list[Group], sent: list[int], algorithm: Algorithm
) -> None:
    learner = open_learner(dtype="float64")
    learner.start_stage("" if algorithm.needs_reference else None)
    learned(learner, DR_GRPO, groups)  # policy and reference are two
    sent.clear()
    batch = batch_of(algorithm, learner, groups)
    assert rows_without_gradient(batch, algorithm) == frozenset()
    learner.accumulate(batch, algorithm)
    assert sum(sent) == 18


def test_a_wrong_guess_changes_nothing(open_learner: Open, groups: list[Group]) -> None:
    """Rows go apart from others by a guess, and backward by what the coefficients are."""
    found = []
    for guess in (frozenset(), frozenset(range(9))):
        learner = open_learner(dtype="float64")
        batch = batch_of(DR_GRPO, learner, groups)
        asked = learner.accumulate(batch, DR_GRPO)
        learner.discard()

        def said(rows: Any, outputs: Any, batch: TrainBatch = batch) -> Any:
            return backward.coefficients(batch.part(rows), DR_GRPO, outputs)[0]

        learner.backward(batch.rollouts, 1.0, said, idle=guess)
        found.append(learner.step(asked.count, 1e-3) | {n: tensor.clone() for n, tensor in learner.weights()})
    alike(found[0], found[1], 1e-9)
