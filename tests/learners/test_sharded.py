"""Several processes learn what one learns: gradients, metrics, checkpoints. One group of processes serves all tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from groupwise import NewModel, OnPolicy, Run, recipes
from groupwise.algorithm import Algorithm, Entropy
from groupwise.errors import UserError
from groupwise.learners import FSDP, Local, Lora, ranks
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


@pytest.mark.parametrize("algorithm", RECIPES.values(), ids=RECIPES)
def test_two_processes_learn_what_one_learns(algorithm: Algorithm, tiny_model: Path, groups: list[Group]) -> None:
    """Of a policy that is no longer its reference: the gradient, the tally, a step, the weights after it."""
    with (
        closing(Local(**EXACT).open(tiny_model)) as one,  # type: ignore[arg-type]
        closing(FSDP(**EXACT, processes=2).open(tiny_model)) as two,  # type: ignore[arg-type]
    ):
        for learner in (one, two):
            begun(learner, algorithm)
        assert learned(two, algorithm, groups) == pytest.approx(learned(one, algorithm, groups), rel=1e-9, abs=1e-10)
        tallies = [learner.accumulate(batch_of(learner, algorithm, groups), algorithm) for learner in (one, two)]
        assert tallies[1].count == tallies[0].count
        assert sorted(tallies[1].rows) == sorted(tallies[0].rows)
        found = two._ask("gradients")
        for name, parameter in one.model.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-10, atol=1e-10, msg=name)
            assert parameter.grad.abs().max() > 0
        steps = [learner.step(tallies[0].count, 1e-3) for learner in (one, two)]
        assert steps[1] == pytest.approx(steps[0], rel=1e-9)
        torch.testing.assert_close(two.logprobs(flatten(groups), 1.0), one.logprobs(flatten(groups), 1.0))
        parts = dict(two.weights())
        for name, tensor in one.weights():
            torch.testing.assert_close(parts[name], tensor, rtol=0, atol=1e-7, msg=name)


def test_what_two_processes_wrote_one_reads_and_the_reverse(
    tiny_model: Path, groups: list[Group], tmp_path: Path
) -> None:
    """The format is one: a checkpoint of either goes on in the other as in itself."""
    algorithm, configs = RECIPES["grpo"], (Local(**EXACT), FSDP(**EXACT, processes=2))  # type: ignore[arg-type]
    for number, writer in enumerate(configs):
        directory = tmp_path / str(number)
        directory.mkdir()
        with closing(writer.open(tiny_model)) as straight:
            begun(straight, algorithm)
            learned(straight, algorithm, groups)
            straight.save(directory)
            straight.write(directory)
            expected = learned(straight, algorithm, groups)
        for reader in configs:
            with closing(reader.open(directory)) as resumed:
                begun(resumed, algorithm).read(directory)
                assert resumed.version == 1
                found = learned(resumed, algorithm, groups)
            if reader is writer:
                assert found == expected
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-10)


def letters(completions: list[str], **columns: Any) -> list[float]:
    return [float(sum(map(ord, text)) % 7) for text in completions]


def test_a_stage_of_two_processes_is_the_stage_of_one(tmp_path: Path) -> None:
    rows = tuple(Example(f"row:{n}", f"{n}+1=", f"{n + 1}") for n in range(6))
    task = Task("rows", rows, rewards=(as_reward(letters),))
    grpo = replace(RECIPES["grpo"], source=OnPolicy(group_size=4, max_completion_tokens=6))
    stage = Stage("learn", grpo, task, steps=3, prompts_per_step=3, learning_rate=1e-2, minibatches=2)
    model = NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
    found = []
    for config in (Local(**EXACT), FSDP(**EXACT, processes=2)):  # type: ignore[arg-type]
        outcome = run(Run("ranks", model, (stage,), config), tmp_path / type(config).__name__, sinks=[])
        lines = (outcome.directory / "metrics.jsonl").read_text().splitlines()
        found.append([{name: value for name, value in json.loads(line).items() if "/s" not in name} for line in lines])
    assert len(found[0]) == 3
    for one, two in zip(*found, strict=True):
        assert one.keys() == two.keys()
        same = {name: value for name, value in one.items() if "second" not in name and "time" not in name}
        numbers = {name: value for name, value in same.items() if isinstance(value, int | float)}
        assert {name: two[name] for name in numbers} == pytest.approx(numbers, rel=1e-9, abs=1e-12)


def test_what_follows_ends_with_its_rank_and_why(tiny_model: Path, groups: list[Group]) -> None:
    config = FSDP(**EXACT, processes=2)  # type: ignore[arg-type]
    with closing(config.open(tiny_model)) as learner:
        learner._ranks._processes[1].kill()
        with pytest.raises(UserError, match=r"process 1 of 2 was ended by SIGKILL"):
            learner.logprobs(flatten(groups), 1.0)
    with closing(config.open(tiny_model)) as learner:
        learner._ranks.tell(learner._number, "no_such_thing")
        with pytest.raises(RuntimeError, match=r"(?s)process 1 of 2 failed:.*AttributeError.*no_such_thing"):
            learner.logprobs(flatten(groups), 1.0)


@pytest.mark.parametrize(
    "options", [{"lora": Lora(rank=2)}, {"dtype": "bfloat16"}, {"optimizer_bits": 8}], ids=lambda options: min(options)
)
def test_what_is_not_supported_is_refused_in_a_line(options: dict[str, Any], tiny_model: Path) -> None:
    with pytest.raises(UserError, match=rf"^learner FSDP: {min(options)}.* expected learner Local"):
        FSDP(**EXACT | options).open(tiny_model)


def test_a_scorer_and_a_critic_are_refused(tiny_model: Path) -> None:
    with pytest.raises(UserError, match=r"a scorer .* expected learner Local"):
        FSDP().open_scorer(tiny_model)
    learner = FSDP(**EXACT).open(tiny_model)  # type: ignore[arg-type]
    with closing(learner), pytest.raises(UserError, match=r"a critic \(head\) .* expected learner Local"):
        learner.start_stage(None, "head")
