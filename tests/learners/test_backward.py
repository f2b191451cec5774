"""Where nothing is to be learned from a group nothing goes backward, and the update is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise import recipes
from groupwise.algorithm import Algorithm, ConstantLength, Entropy
from groupwise.learners import Lora, backward
from groupwise.learners.backward import rows_without_gradient
from groupwise.learners.local import LocalLearner
from groupwise.learners.placement import OneProcess
from groupwise.learning.train_batch import TrainBatch
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
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_steps_are_those_of_zeros_that_are_sent(
    open_learner: Open, groups: list[Group], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Three steps: one of both kinds of groups, one of silent groups alone, where momentum moves, and another."""
    silent, draws = [group for number, group in enumerate(groups) if number % 2], []
    for plain in (False, True):
        learner = open_learner(**options)
        learner.start_stage(None)
        if plain:
            monkeypatch.setattr(backward, "rows_without_gradient", lambda batch, algorithm: frozenset())
            monkeypatch.setattr(OneProcess, "silent", lambda self, cotangent: False)
        draws.append([learned(learner, DR_GRPO, own) for own in (groups, silent, groups)])
    for found, expected in zip(*draws, strict=True):
        alike(found, expected, 0.02 if "bfloat16" in options.values() else 1e-9)
    moved = draws[0][1]["parameter model.embed_tokens.weight"] - draws[0][0]["parameter model.embed_tokens.weight"]
    assert moved.any() or "lora" in options


def test_silent_groups_stay_forward(open_learner: Open, groups: list[Group], sent: list[int]) -> None:
    """Nine rows learn, nine are only read; of a draw of silent groups nothing goes backward."""
    learner = open_learner(dtype="float64")
    batch = batch_of(DR_GRPO, learner, groups)
    assert rows_without_gradient(batch, DR_GRPO) == frozenset([3, 4, 5, 9, 10, 11, 15, 16, 17])
    learner.accumulate(batch, DR_GRPO)
    assert sent == [9]
    learner.discard()
    sent.clear()
    learner.accumulate(batch_of(DR_GRPO, learner, groups[1::2]), DR_GRPO)
    assert sent == []


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


def test_a_wrong_guess_changes_nothing(open_learner: Open, groups: list[Group], tiny_model: Path) -> None:
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
