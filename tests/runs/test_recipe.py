"""A run from nothing to its report: what it leaves, that it continues to the bit, and what it refuses."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import groupwise as gw
from groupwise.ledger.files import Ledger
from groupwise.tasks.stepwise import Difficulty
from groupwise.training.interrupts import Stopped, stop_on_signals
from groupwise.types import Example

TASK = gw.tasks.stepwise(level=Difficulty(operands=(2, 2), largest=9), held_out_size=6)
SOURCE = gw.OnPolicy(group_size=4, max_completion_tokens=8)


def digits(completions: Sequence[str], **columns: Any) -> list[float]:
    """How much of a completion is digits: even a random model earns different rewards."""
    return [sum(letter.isdigit() for letter in text) / 8 for text in completions]


RECIPE = gw.Run(
    name="small",
    model=gw.NewModel(hidden_size=32, layers=2, heads=2, intermediate_size=64, context_tokens=64),
    stages=(
        gw.Stage("first", gw.recipes.sft, TASK, steps=5, prompts_per_step=4, learning_rate=1e-2, checkpoint_every=2),
        gw.Stage(
            "second",
            replace(gw.recipes.grpo, source=SOURCE),
            replace(TASK, rewards=(gw.as_reward(digits),)),
            steps=5,
            prompts_per_step=4,
            minibatches=2,
            learning_rate=1e-2,
            checkpoint_every=2,
            evaluate_every=3,
        ),
    ),
    learner=gw.Local(device="cpu", threads=1),
    evaluation=gw.HeldOut(problems=6, sampled_problems=3, samples=4, max_completion_tokens=8, during=3),
)


class BreakOff(BaseException):
    """What ends a run at once; an error of a sink does not."""


class Heard:
    """A sink that keeps what it hears, and raises, or sends an interrupt, where it is told to."""

    def __init__(self, fail_at: tuple[str, int] | None = None, signal_at: tuple[str, int] | None = None) -> None:
        self.fail_at, self.signal_at = fail_at, signal_at
        self.notes: list[str] = []
        self.stages: list[tuple[str, int, int]] = []
        self.summary: Mapping[str, Any] | None = None

    def stage(self, name: str, steps: int, start: int) -> None:
        self.stages.append((name, steps, start))

    def phase(self, name: str, done: int, total: int) -> None:
        assert 0 <= done <= total

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if (stage, step) == self.fail_at:
            raise BreakOff(f"{stage} {step}")
        if (stage, step) == self.signal_at:
            signal.raise_signal(signal.SIGINT)

    def completions(self, name: str, chosen: Mapping[str, Any]) -> None:
        assert set(chosen) <= {"best", "worst", "random"}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self, summary: Mapping[str, Any]) -> None:
        self.summary = summary


def metrics_of(directory: Path) -> list[dict[str, Any]]:
    """Without what a clock measured."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    clock = ("seconds", "step_time", "tokens_per_second", "time")
    return [
        {key: value for key, value in row.items() if not key.startswith(clock) and not key.endswith("/seconds")}
        for row in rows
    ]


def weights_of(directory: Path, stage: str) -> dict[str, bytes]:
    tensors = load_file(directory / "models" / stage / "model.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, gw.Outcome]:
    """The uninterrupted run that the others are compared with."""
    directory = tmp_path_factory.mktemp("straight") / "run"
    return directory, gw.run(RECIPE, directory, sinks=[])


def test_it_leaves_what_its_docstring_says(straight: tuple[Path, gw.Outcome]) -> None:
    directory, outcome = straight
    assert outcome.directory == directory
    assert outcome.model == directory / "models" / "second"
    assert not outcome.already_finished
    left = {path.name for path in directory.iterdir() if path.name != ".lock"}
    assert left >= {"run.json", "metrics.jsonl", "tensorboard", "models", "ledger", "evaluation.json", "report.html"}
    assert [path.name for path in (directory / "checkpoints").iterdir()] == ["second-000005"]
    record = json.loads((directory / "run.json").read_text())
    assert record["recipe"]["seed"] == 0
    assert record["seconds"] > 0
    assert {"python", "torch", "transformers"} <= set(record["versions"])
    assert "<html" in (directory / "report.html").read_text()
    assert '"status":"finished"' in (directory / "report.html").read_text()


def test_every_step_has_its_numbers(straight: tuple[Path, gw.Outcome]) -> None:
    rows = metrics_of(straight[0])
    assert [(row["stage"], row["step"]) for row in rows] == [
        *(("first", step) for step in range(1, 6)),
        *(("second", step) for step in range(1, 6)),
    ]
    for row in rows:
        assert row["skipped_updates"] == 0
        assert row["grad_norm"] > 0
    for row in rows[5:]:
        assert {"reward", "reward_std", "frac_reward_zero_std", "kl", "entropy", "loss"} <= set(row)
        assert row["engine_learner_gap"] < 1e-5
    assert [row["step"] for row in rows if "eval/accuracy" in row] == [1, 3]
    assert rows[0]["loss"] > rows[4]["loss"]


def test_models_are_directories_that_transformers_loads(straight: tuple[Path, gw.Outcome]) -> None:
    for stage in ("new", "first", "second"):
        path = straight[0] / "models" / stage
        assert AutoModelForCausalLM.from_pretrained(path).config.hidden_size == 32
        assert AutoTokenizer.from_pretrained(path).chat_template
    assert weights_of(straight[0], "first") != weights_of(straight[0], "second")


def test_each_stage_is_evaluated_and_every_rollout_kept(straight: tuple[Path, gw.Outcome]) -> None:
    directory, outcome = straight
    assert list(outcome.evaluations) == ["first", "second"]
    assert all(evaluation.problems == 6 for evaluation in outcome.evaluations.values())
    ledger = Ledger(directory / "ledger")
    assert ledger.steps("second") == [1, 2, 3, 4, 5]
    assert [len(ledger.read("second", step)) for step in (1, 5)] == [16, 16]


def test_the_same_command_again_says_it_is_finished(straight: tuple[Path, gw.Outcome]) -> None:
    directory, outcome = straight
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("model.safetensors")}
    heard = Heard()
    again = gw.run(RECIPE, directory, sinks=[heard])
    assert again.already_finished
    assert again.model == outcome.model
    assert list(again.evaluations) == ["first", "second"]
    assert heard.stages == []
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("model.safetensors")} == before


@pytest.mark.parametrize(
    ("fail_at", "start"),
    [(("first", 1), 0), (("first", 4), 2), (("second", 2), 0), (("second", 4), 2), (("second", 5), 4)],
)
def test_a_run_that_broke_off_continues_to_the_bit(
    straight: tuple[Path, gw.Outcome], tmp_path: Path, fail_at: tuple[str, int], start: int
) -> None:
    """From the last checkpoint: the same weights, metrics, rollouts and evaluations as the run nobody disturbed."""
    with pytest.raises(BreakOff):
        gw.run(RECIPE, tmp_path / "run", sinks=[Heard(fail_at)])
    heard = Heard()
    outcome = gw.run(RECIPE, tmp_path / "run", sinks=[heard])
    assert heard.stages[0] == (fail_at[0], 5, start)
    assert heard.summary is not None
    directory, expected = straight
    for stage in ("first", "second"):
        assert weights_of(tmp_path / "run", stage) == weights_of(directory, stage)
        assert outcome.evaluations[stage].greedy == expected.evaluations[stage].greedy
        assert outcome.evaluations[stage].pass_at == expected.evaluations[stage].pass_at
    assert metrics_of(tmp_path / "run") == metrics_of(directory)
    for step in range(1, 6):
        kept = [Ledger(path / "ledger").read("second", step) for path in (tmp_path / "run", directory)]
        assert kept[0] == kept[1]


@pytest.mark.parametrize("stage", ["first", "second"])
def test_a_run_that_is_asked_to_stop_loses_nothing(
    straight: tuple[Path, gw.Outcome], tmp_path: Path, stage: str
) -> None:
    """A signal in the middle of step 3: it finishes the step, saves, and goes on behind it."""
    with stop_on_signals(), pytest.raises(Stopped, match=f"after step 3 of {stage}"):
        gw.run(RECIPE, tmp_path / "run", sinks=[Heard(signal_at=(stage, 3))])
    heard = Heard()
    gw.run(RECIPE, tmp_path / "run", sinks=[heard])
    assert heard.stages[0] == (stage, 5, 3)
    assert weights_of(tmp_path / "run", "second") == weights_of(straight[0], "second")
    assert metrics_of(tmp_path / "run") == metrics_of(straight[0])


def test_fresh_starts_over(straight: tuple[Path, gw.Outcome], tmp_path: Path) -> None:
    with pytest.raises(BreakOff):
        gw.run(RECIPE, tmp_path / "run", sinks=[Heard(("first", 4))])
    heard = Heard()
    gw.run(RECIPE, tmp_path / "run", fresh=True, sinks=[heard])
    assert heard.stages == [("first", 5, 0), ("second", 5, 0)]
    assert metrics_of(tmp_path / "run") == metrics_of(straight[0])


def test_another_seed_is_another_run(straight: tuple[Path, gw.Outcome], tmp_path: Path) -> None:
    other = replace(RECIPE, seed=1, stages=RECIPE.stages[:1])
    gw.run(other, tmp_path / "run", sinks=[])
    assert weights_of(tmp_path / "run", "new") != weights_of(straight[0], "new")
    assert weights_of(tmp_path / "run", "first") != weights_of(straight[0], "first")


def test_another_recipe_in_the_same_directory_is_refused(straight: tuple[Path, gw.Outcome]) -> None:
    before = (straight[0] / "run.json").read_text()
    other = replace(RECIPE, stages=(RECIPE.stages[0], replace(RECIPE.stages[1], learning_rate=0.5)))
    with pytest.raises(gw.UserError, match=r"second\.learning_rate: 0\.5 \(there: 0\.01\)"):
        gw.run(other, straight[0], sinks=[])
    assert (straight[0] / "run.json").read_text() == before


def nothing_left(recipe: gw.Run, directory: Path, words: str) -> None:
    with pytest.raises(gw.UserError) as caught:
        gw.run(recipe, directory, sinks=[])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not directory.exists()


def test_a_refused_recipe_leaves_nothing_behind(tmp_path: Path) -> None:
    second = RECIPE.stages[1]
    alone = replace(second, algorithm=replace(second.algorithm, source=replace(SOURCE, group_size=1)))
    nothing_left(replace(RECIPE, stages=(alone,)), tmp_path / "a", "group_size is 1")
    nothing_left(replace(RECIPE, stages=()), tmp_path / "b", "no stages")


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(gw.UserError, match=r"notes\.txt"):
        gw.run(RECIPE, tmp_path, sinks=[])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_cannot_be_used_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    first = RECIPE.stages[0]
    plain = replace(TASK, train=[Example("mine.jsonl:1", "2+2", answer="4")], held_out=())
    for task, words in ((plain, "mine.jsonl:1 has no demonstration"), (replace(plain, train=[]), "no training rows")):
        nothing_left(replace(RECIPE, stages=(replace(first, task=task),)), tmp_path / "runs" / "mine", words)
    nothing_left(replace(RECIPE, model=str(tmp_path / "x")), tmp_path / "runs" / "mine", "no such model directory")
    assert list(tmp_path.iterdir()) == []


def test_warnings_reach_the_sinks(tmp_path: Path) -> None:
    heard = Heard(("second", 1))
    with pytest.raises(BreakOff):
        gw.run(replace(RECIPE, stages=RECIPE.stages[1:]), tmp_path / "run", sinks=[heard])
    assert any("unweighted k3" in note for note in heard.notes)
