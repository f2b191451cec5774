"""Draws made ahead: the next one is sampled while the learner learns, and the run is the same to the bit."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import groupwise as gw
from groupwise import Native, OnPolicy, Stage, recipes
from groupwise.errors import UserError
from groupwise.learners.local import LocalLearner
from groupwise.rewards import as_reward
from groupwise.runs.recipe import validate
from groupwise.sinks import Sinks
from groupwise.sources import Ahead, DrawContext, FrozenPolicy, RolloutBatch
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.training.loop import Progress, train
from groupwise.training.stage import draw_context
from groupwise.types import Example
from groupwise.values.metric_names import untimed

Open = Callable[..., DrawContext]
INNER = OnPolicy(group_size=3, max_completion_tokens=6)
SMALL = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
ROWS = tuple(Example(f"row:{number}", "abcdefgh"[number]) for number in range(8))


def odd(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text) % 2) for text in completions]


class Heard(Sinks):
    """Keeps the numbers; cuts the run once after the step ``cut``, as its metrics come."""

    def __init__(self, cut: int = 0) -> None:
        super().__init__()
        self.cut = cut
        self.rows: dict[int, dict[str, float]] = {}
        self.timed: dict[int, dict[str, float]] = {}

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.rows[step], self.timed[step] = untimed(dict(values)), dict(values)
        if step == self.cut:
            raise KeyboardInterrupt


def recipe(source: Any, steps: int = 6, algorithm: Any = recipes.grpo, **options: Any) -> gw.Run:
    task = Task("rows", ROWS, (as_reward(odd, isolated=False),), held_out=ROWS[:2])
    stage = Stage(
        "train",
        replace(algorithm, source=source),
        task,
        steps,
        4,
        **{"learning_rate": 1e-2, "checkpoint_every": 2} | options,
    )
    evaluation = gw.HeldOut(problems=0, sampled_problems=0, during=2)
    learner = gw.Local(device="cpu", threads=1)
    return gw.Run("mine", SMALL, (stage,), learner=learner, evaluation=evaluation, evaluate_first=False)


def model(place: Path) -> str:
    return hashlib.sha256((place / "models" / "train" / "model.safetensors").read_bytes()).hexdigest()


def ledger(place: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((place / "ledger" / "train").glob("*.parquet"))]


def test_nothing_drawn_ahead_is_on_policy_to_the_byte(tmp_path: Path) -> None:
    plain, ahead = Heard(), Heard()
    gw.run(recipe(INNER), tmp_path / "plain", sinks=[plain])
    gw.run(recipe(Ahead(INNER, steps=0)), tmp_path / "ahead", sinks=[ahead])
    assert model(tmp_path / "plain") == model(tmp_path / "ahead")
    assert plain.rows == ahead.rows
    assert len(ledger(tmp_path / "plain")) == 6
    assert ledger(tmp_path / "plain") == ledger(tmp_path / "ahead")


@pytest.mark.parametrize("steps", [1, 3])
def test_a_run_that_is_cut_goes_on_with_its_draws(steps: int, drawn_ahead: Any, tmp_path: Path) -> None:
    """Cut after step 5, it goes on from the checkpoint of step 4, whose draws came from older weights; quick
    evaluations load newer ones into the engine in between. And it is what draws one after the other give."""
    whole, cut, again, plain = Heard(), Heard(cut=5), Heard(), Heard()
    run = recipe(Ahead(INNER, steps), evaluate_every=3)
    gw.run(run, tmp_path / "whole", sinks=[whole])
    with pytest.raises(KeyboardInterrupt):
        gw.run(run, tmp_path / "cut", sinks=[cut])
    checkpoint = tmp_path / "cut" / "checkpoints" / "train-000004"
    saved = json.loads((checkpoint / "groupwise_progress.json").read_text())
    assert (saved["pending"], saved["position"]) == (steps, {"prompts": 16})
    assert len(list(checkpoint.glob("pending-*.jsonl"))) == steps
    gw.run(run, tmp_path / "cut", sinks=[again])
    assert sorted(again.rows) == [5, 6]
    assert model(tmp_path / "cut") == model(tmp_path / "whole")
    assert ledger(tmp_path / "cut") == ledger(tmp_path / "whole")
    assert cut.rows | again.rows == whole.rows
    assert [whole.rows[step]["staleness"] for step in (1, 2, 3, 4, 5)] == [min(steps, step) for step in range(5)]
    assert all("engine_learner_gap" not in whole.rows[step] for step in range(2, 7))
    assert all(whole.rows[step]["policy_drift"] > 0 for step in range(2, 7))
    gw.run(recipe(drawn_ahead(INNER, steps=steps), evaluate_every=3), tmp_path / "plain", sinks=[plain])
    assert model(tmp_path / "plain") == model(tmp_path / "whole")


class Slow:
    """An engine that sleeps before it samples and counts its draws, with weights of its own."""

    def __init__(self, engine: Any, seconds: float) -> None:
        self.engine, self.seconds = engine, seconds
        self.draws, self.drawn = 0, threading.Condition()
        self.context_tokens = engine.context_tokens

    @property
    def version(self) -> int:
        return int(self.engine.version)

    def load(self, weights: Any, version: int) -> None:
        self.engine.load(weights, version)

    def stream(self, *options: Any) -> Any:
        return self.engine.stream(*options)

    def generate(self, *options: Any) -> Iterator[Any]:
        time.sleep(self.seconds)
        yield from self.engine.generate(*options)
        with self.drawn:
            self.draws += 1
            self.drawn.notify_all()

    def wait_for(self, draws: int) -> None:
        with self.drawn:
            assert self.drawn.wait_for(lambda: self.draws >= draws, timeout=600)


@dataclass
class Trained:
    rows: dict[int, dict[str, float]]
    weights: list[Any]


@pytest.fixture
def trained(open_learner: Callable[..., LocalLearner], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trained]:
    """``trained(source, sampling=, learning=)``: with an engine that sleeps so many seconds before a draw, and a
    learner that waits in each step until the next draw is made, and then sleeps."""

    def run(source: Any, sampling: float = 0.0, learning: float = 0.0, steps: int = 6) -> Trained:
        learner = open_learner()
        learner.start_stage(reference="")
        step = learner.step

        def slow(*options: Any) -> dict[str, float]:
            if learning:
                engine.wait_for(min(learner.version + 2, steps))
                time.sleep(learning)
            return step(*options)

        monkeypatch.setattr(learner, "step", slow)
        task = Task("rows", ROWS, (as_reward(odd, isolated=False),))
        stage = Stage("stage", replace(recipes.grpo, source=source), task, steps, 2, learning_rate=1e-2)
        renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
        live = copy.deepcopy(learner.live_module()).requires_grad_(False)
        engine = Slow(Native().open(learner.directory, live, learner.tokenizer), sampling)
        heard, context = Heard(), draw_context(stage, renderer, engine, seed=0)
        progress = train(stage, context, learner, heard, Progress(), lambda progress, record: {})
        assert all(isinstance(draw, RolloutBatch) for draw in source.pending(context, progress.position))
        source.close(context)
        weights = [weight.clone() for _, weight in learner.weights()]
        return Trained(heard.timed, weights)

    return run


def test_engine_and_learner_work_side_by_side(trained: Callable[..., Trained]) -> None:
    """No step of learning ends before the next draw is made: one after the other, it would never end."""
    quiet, slow_learner = trained(Ahead(INNER, 1)), trained(Ahead(INNER, 1), learning=0.1)
    assert sum(slow_learner.rows[step]["seconds/engine_waited"] for step in range(3, 7)) > 0.3
    slow_engine = trained(Ahead(INNER, 1), sampling=0.2)
    assert slow_engine.rows[1]["seconds/learner_waited"] > 0.15
    assert all(row["seconds/other"] >= 0 for row in slow_engine.rows.values())
    for other in (slow_learner, slow_engine):
        assert all((a == b).all() for a, b in zip(quiet.weights, other.weights, strict=True))


def test_what_a_draw_raises_is_heard(world: Open) -> None:
    def failing(completions: Sequence[str], **columns: Any) -> list[float]:
        raise ZeroDivisionError("in the reward")

    source = Ahead(INNER)
    here = world(source, rewards=(as_reward(failing, isolated=False),), prompts_per_step=2)
    with pytest.raises(UserError, match="in the reward"):
        source.draw(here, {})
    source.close(here)


def test_what_cannot_be_drawn_ahead_is_refused() -> None:
    for source, words in (
        (Ahead(FrozenPolicy()), "FrozenPolicy samples nothing of it"),
        (Ahead(Ahead(INNER)), "draws at another time already"),
    ):
        with pytest.raises(UserError, match=words):
            validate(recipe(source))
    with pytest.raises(UserError, match=r"Ahead samples 1 step ahead.*TruncateMismatch"):
        validate(recipe(Ahead(INNER), algorithm=recipes.rloo))
    remarks = " ".join(validate(recipe(Ahead(INNER, 2))))
    assert "the policy as it was up to 2 steps before" in remarks
    assert "clip low and high never apply" not in remarks
