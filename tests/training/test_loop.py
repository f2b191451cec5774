"""The one loop: what passes through a step, in which order, and where it stands afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from groupwise import Native, OnPolicy, Stage, recipes
from groupwise.learners.local import LocalLearner
from groupwise.learning.record import StepRecord
from groupwise.rewards import as_reward
from groupwise.sinks import Sinks
from groupwise.sources import DrawContext
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.training.loop import Progress, train
from groupwise.training.metrics import length_metrics
from groupwise.training.stage import draw_context, in_stage
from groupwise.types import Example, Rollout

ROWS = tuple(Example(f"row:{n}", f"{n} + 1 =", completion=f"{n + 1}") for n in range(6))


def digits(completions: list[str], **columns: Any) -> list[float]:
    return [float(sum(letter.isdigit() for letter in text)) for text in completions]


class Heard(Sinks):
    """No other sinks; keeps the metrics, and the order of what happens."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.order: list[str] = []

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.rows.append({"step": step, **values})
        self.order.append("metrics")


@pytest.fixture
def parts(open_learner: Callable[..., LocalLearner]) -> Callable[..., tuple[Stage, DrawContext, LocalLearner]]:
    def make(**slots: Any) -> tuple[Stage, DrawContext, LocalLearner]:
        learner = open_learner()
        learner.start_stage(reference="")
        source = OnPolicy(group_size=4, max_completion_tokens=8)
        algorithm = replace(recipes.grpo, **({"source": source} | slots))
        stage = Stage("stage", algorithm, Task("rows", ROWS, (as_reward(digits),)), 4, 2, learning_rate=1e-2)
        renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
        engine = Native().open(learner.directory, learner.live_module(), learner.tokenizer)
        return stage, draw_context(stage, renderer, engine, seed=0), learner

    return make


Parts = Callable[..., tuple[Stage, DrawContext, LocalLearner]]


def test_rewards_see_where_training_stands(parts: Parts) -> None:
    """Draws done of those that will be, and passes over the six rows; the same from any step on."""

    def f(completions, trainer_state, log_metric, log_extra):  # type: ignore[no-untyped-def]
        log_metric("at", trainer_state.global_step)
        log_metric("epoch", trainer_state.epoch)
        log_metric("ends", trainer_state.max_steps + trainer_state.num_train_epochs)
        log_extra("length", [len(text) for text in completions])
        return [float(trainer_state.global_step)] * len(completions)

    def rows(start: Progress) -> list[dict[str, float]]:
        stage, world, learner = parts()
        stage = replace(stage, task=replace(stage.task, rewards=(as_reward(f, isolated=False),)))
        heard = Heard()
        train(stage, in_stage(stage, world), learner, heard, start, lambda progress, record: {})
        return heard.rows

    found = rows(Progress())
    assert [row["rewards/f/at"] for row in found] == [row["reward"] for row in found] == [0, 1, 2, 3]
    assert [row["rewards/f/epoch"] for row in found] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert {row["rewards/f/ends"] for row in found} == {4 + 2}
    later = rows(Progress(step=2, position={"prompts": 4}))
    assert [row["rewards/f/epoch"] for row in later] == [row["rewards/f/epoch"] for row in found[2:]]


def test_each_step_samples_from_the_newest_weights(parts: Parts) -> None:
    """The engine's version is the learner's, and the two give a token the same probability."""
    stage, world, learner = parts()
    heard, versions = Heard(), []

    def after_step(progress: Progress, record: StepRecord | None) -> dict[str, float]:
        assert record is not None
        assert record.step == progress.step
        versions.append({rollout.version for group in record.groups for rollout in group.rollouts})
        heard.order.append("after")
        return {"mine": 1.0}

    progress = train(
        stage, world, learner, heard, Progress(), after_step, lambda progress: heard.order.append("checkpoint")
    )
    assert versions == [{0}, {1}, {2}, {3}]
    assert heard.order == ["after", "metrics", "checkpoint"] * 4
    assert [row["step"] for row in heard.rows] == [1, 2, 3, 4]
    assert all(row["mine"] == 1.0 and row["engine_learner_gap"] < 1e-5 for row in heard.rows)
    assert progress.step == 4
    assert progress.position == {"prompts": 8}
    assert progress.num_tokens == heard.rows[-1]["num_tokens"] > heard.rows[0]["num_tokens"] > 0
    assert heard.rows[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert heard.rows[-1]["kl"] > 1e-6


def test_it_goes_on_where_progress_stands(parts: Parts) -> None:
    stage, world, learner = parts()
    heard = Heard()
    train(
        stage,
        world,
        learner,
        heard,
        Progress(step=3, position={"prompts": 6}, num_tokens=100),
        lambda progress, record: {},
    )
    assert [row["step"] for row in heard.rows] == [4]
    assert heard.rows[0]["num_tokens"] > 100


def test_a_step_whose_groups_were_all_dropped_is_still_told(parts: Parts) -> None:
    stage, world, learner = parts(source=OnPolicy(2, 1.0, 4, without_signal="drop", signal=lambda group: False))
    heard, records = Heard(), []
    before = {name: tensor.clone() for name, tensor in learner.weights()}
    progress = train(stage, world, learner, heard, Progress(), lambda progress, record: records.append(record) or {})
    assert records == [None] * 4
    assert progress.position == {"prompts": 8}
    assert [row["groups_dropped"] for row in heard.rows] == [2.0] * 4
    assert all((tensor == before[name]).all() for name, tensor in learner.weights())


def test_supervised_learning_goes_through_the_same_lines(parts: Parts) -> None:
    stage, world, learner = parts()
    stage = replace(stage, algorithm=recipes.sft, prompts_per_step=6)
    heard = Heard()
    train(stage, in_stage(stage, world), learner, heard, Progress(), lambda progress, record: {})
    losses = [row["loss"] for row in heard.rows]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.1
    assert "reward" not in heard.rows[0]


def test_the_phases_of_a_step_add_up_to_its_time(parts: Parts) -> None:
    stage, world, learner = parts()
    heard = Heard()
    train(stage, world, learner, heard, Progress(), lambda progress, record: {})
    for row in heard.rows:
        phases = [value for name, value in row.items() if name.startswith("seconds/")]
        assert all(value >= 0 for value in phases)
        assert sum(phases) == pytest.approx(row["step_time"], abs=1e-6)


def test_lengths_count_sampled_tokens(make_rollout: Callable[..., Rollout]) -> None:
    rollouts = [make_rollout((5,), (6, 7, 8), (True, False, True)), make_rollout((5,), (6,))]
    found = length_metrics([rollouts[0], replace(rollouts[1], finished=False)])
    assert found == {
        "completions/mean_length": 1.5,
        "completions/min_length": 1.0,
        "completions/max_length": 2.0,
        "completions/clipped_ratio": 0.5,
    }


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.8535533905932737, 0.5, 0.14644660940672627]),
    ],
)
def test_learning_rate_schedules(schedule: Any, expected: list[float]) -> None:
    stage = Stage("s", recipes.sft, Task("t", ()), 6, learning_rate=1.0, warmup_steps=2, schedule=schedule)
    assert [stage.learning_rate_at(step) for step in range(6)] == pytest.approx(expected)
