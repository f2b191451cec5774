"""What every recorder of a stage promises; one more joins by one line in ``stage_recorder.StageRecorder``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import groupwise as gw
from groupwise import recipes, rewards
from groupwise.learning.record import StepRecord
from groupwise.runs import stage_recorder
from groupwise.runs.recorder import Recorder
from groupwise.runs.stage_recorder import StageRecorder
from groupwise.sinks import Sinks
from groupwise.training.loop import Progress
from groupwise.types import Example


class Lengths(Recorder):
    """A recorder as somebody would write one: the longest completion of every step, in a file of its own."""

    made: ClassVar[list[Lengths]] = []

    def __init__(self, path: Path) -> None:
        self.path, self.calls = path, list[str]()
        self.made.append(self)

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        self.calls.append(f"step {progress.step}")
        if record is None:
            return {}
        longest = max(len(rollout.tokens) for group in record.groups for rollout in group.rollouts)
        self.path.write_text(json.dumps(longest), encoding="utf-8")
        return {"longest": float(longest)}

    def checkpoint(self, progress: Progress) -> None:
        self.calls.append(f"checkpoint {progress.step}")

    def drain(self) -> list[Path]:
        self.calls.append("drain")
        return [self.path]

    def close(self) -> None:
        self.calls.append("close")
        raise OSError("no room")


class Numbers(Sinks):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Mapping[str, float]] = []

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.rows.append(values)


@pytest.fixture
def recipe(tiny_model: Path) -> gw.Run:
    rows = [Example(f"row {number}", f"{number} + 1 = ", answer=str(number + 1)) for number in range(6)]
    task = gw.Task("sums", rows, (rewards.FinalAnswer(),), held_out=rows[:2])
    source = gw.OnPolicy(group_size=2, max_completion_tokens=4)
    stage = gw.Stage(
        "grpo", replace(recipes.grpo, source=source), task, 3, prompts_per_step=2, checkpoint_every=2, evaluate_every=2
    )
    learner = gw.Local(device="cpu", threads=1)
    return gw.Run("small", str(tiny_model), (stage,), learner, evaluation=gw.HeldOut(problems=0, during=2))


def test_one_more_recorder_is_one_line(recipe: gw.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked after every step, its metrics are the run's, it is drained before a checkpoint is written, and closed
    at the end, where what it raises hides nothing."""

    class Longer(StageRecorder):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.recorders.insert(0, Lengths(tmp_path / "longest.json"))

    monkeypatch.setattr("groupwise.runs.session.StageRecorder", Longer)
    sink = Numbers()
    gw.run(recipe, tmp_path / "run", sinks=[sink])
    [made] = Lengths.made
    assert made.calls == [
        *("step 1", "checkpoint 1", "step 2", "checkpoint 2", "drain", "step 3", "checkpoint 3", "drain"),
        *("close", "drain"),  # the end of the stage is kept when all is closed
    ]
    assert [row["longest"] for row in sink.rows] == [4.0] * 3
    assert json.loads((tmp_path / "longest.json").read_text()) == 4


def of_documents(recipe: gw.Run) -> gw.Run:
    """The same model, pre-trained on text."""
    rows = [Example(f"text {number}", "", f"{number} and {number} make {2 * number}. " * 30) for number in range(4)]
    task = gw.Task("texts", rows[:3], held_out=rows[3:])
    stage = gw.Stage("pretrain", recipes.pretrain, task, 3, 2, checkpoint_every=2, evaluate_every=2)
    return replace(recipe, stages=(stage,))


def test_every_recorder_does_without_a_record(recipe: gw.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step's groups were all dropped: each recorder of a stage of answers and of one of documents, called as
    the loop calls them."""
    seen: list[Recorder] = []

    class Emptied(StageRecorder):
        def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
            for recorder in self.recorders:
                found = recorder.after_step(progress, None)
                assert all(isinstance(value, float) for value in found.values())
                assert isinstance(recorder.drain(), list)
            seen.extend(self.recorders)
            return super().after_step(progress, record)

    monkeypatch.setattr("groupwise.runs.session.StageRecorder", Emptied)
    gw.run(recipe, tmp_path / "run", sinks=[])
    gw.run(of_documents(recipe), tmp_path / "texts", sinks=[])
    kinds = {type(recorder) for recorder in seen}
    own = {value for value in vars(stage_recorder).values() if isinstance(value, type) and Recorder in value.__bases__}
    assert kinds == own - {stage_recorder.ScorerEvaluations}


def test_a_recorder_writes_what_it_needs_and_no_more() -> None:
    class Silent(Recorder):
        """Nothing of its own."""

    silent = Silent()
    assert silent.after_step(Progress(), None) == {}
    assert silent.drain() == []
    silent.checkpoint(Progress())
    silent.close()
