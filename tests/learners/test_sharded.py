"""Several processes learn what one learns: gradients, metrics, checkpoints. One group of processes serves all tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from groupwise import NewModel, OnPolicy, Run, recipes
from groupwise.algorithm import Algorithm, Entropy
from groupwise.errors import UserError
from groupwise.learners import FSDP, Local, Lora, ranks
from groupwise.learners.sharding import whole
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Policy
from groupwise.rewards import as_reward
from groupwise.runs.session import run
from groupwise.tasks.task import Task
from groupwise.training.stage import Stage
from groupwise.training.update import prepare
from groupwise.types import Example, Group, flatten

EXACT = {"device": "cpu", "threads": 1, "dtype": "float64", "tokens_per_micro_batch": 40}
RECIPES = {
    "grpo": replace(recipes.grpo, kl=replace(recipes.grpo.kl, coefficient=0.05)),
    "entropy": replace(recipes.grpo, entropy=Entropy(0.01)),
    "sft": recipes.sft,
    "dpo": recipes.dpo,
    "dapo": recipes.dapo,
}


@pytest.fixture(scope="module", autouse=True)
def processes() -> Iterator[None]:
    yield
    ranks.ranks_of(2, 60.0).end()


@pytest.fixture
def groups(random_groups: Callable[..., list[Group]]) -> list[Group]:
    made = []
    for number, group in enumerate(random_groups(groups=5, size=2)):
        scored = [
            replace(rollout, rewards={rollout.last: 0.25 + 0.5 * ((row + number) % 2)})
            for row, rollout in enumerate(group.rollouts)
        ]
        made.append(Group(group.prompt, tuple(scored)))
    return made


def batch_of(learner: Policy, algorithm: Algorithm, groups: list[Group]) -> TrainBatch:
    stage = Stage("stage", algorithm, Task("task", ()), 4, learning_rate=1e-3)
    return TrainBatch.of(algorithm, flatten(groups), prepare(stage, learner, groups))


def begun(learner: Policy, algorithm: Algorithm) -> Policy:
    learner.start_stage(algorithm.reference.model if algorithm.needs_reference else None)
    return learner


def learned(learner: Policy, algorithm: Algorithm, groups: list[Group]) -> dict[str, float]:
    tally = learner.accumulate(batch_of(learner, algorithm, groups), algorithm)
    return dict(tally.sums) | learner.step(tally.count, 1e-3)


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: whole(parameter.grad) for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("algorithm", RECIPES.values(), ids=RECIPES)
def test_two_processes_learn_what_one_learns(algorithm: Algorithm, tiny_model: Path, groups: list[Group]) -> None:
    found = []
    for config in (Local(**EXACT), FSDP(**EXACT, processes=2)):
        with closing(config.open(tiny_model)) as learner:
            begun(learner, algorithm)
            metrics = [learned(learner, algorithm, groups) for _ in range(3)]
            found.append((metrics, learner.logprobs(flatten(groups), 1.0), dict(learner.weights())))
    (ours, logprobs, weights), (theirs, others, parts) = found
    for one, two in zip(ours, theirs, strict=True):
        assert two == pytest.approx(one, rel=1e-9, abs=1e-10)
        assert one["grad_norm"] > 0
    torch.testing.assert_close(others, logprobs, rtol=0, atol=1e-8)
    assert parts.keys() == weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=1e-7, msg=name)
