"""Trackers by their real packages: TensorBoard always, the others where they are installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import groupwise as gw
from groupwise.cli import main
from groupwise.errors import UserError
from groupwise.output.sample_completions import SampleCompletion, to_look_at
from groupwise.runs.changes import FREE
from groupwise.sinks import trackers
from groupwise.sinks.trackers import MLflow, RunInfo, TensorBoard, Trackio, Wandb, by_name
from groupwise.types import Rollout

CHOSEN = {"best": SampleCompletion("1 + 1 = ?", "2", 1.0, True, True)}
VALUES = {"reward": 0.5, "eval/pass@1": 0.25, "odd": float("nan")}


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def told(tracker: Any, place: Path) -> None:
    """Two steps, a continuation that makes the second again and a third, and a table."""
    about = RunInfo("mine", place, "mine-1", {"seed": 0, "stages": [{"name": "grpo"}]})
    for steps in ((1, 2), (2, 3)):
        sink = tracker.open(about)
        sink.stage("grpo", 3, steps[0] - 1)
        for step in steps:
            sink.metrics("grpo", step, VALUES)
        sink.completions("grpo", CHOSEN)
        sink.close({"report": "report.html"})


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told(TensorBoard(), tmp_path)
    accumulator = EventAccumulator(str(tmp_path / "tensorboard" / "grpo"))
    accumulator.Reload()
    assert [(event.step, event.value) for event in accumulator.Scalars("reward")] == [(1, 0.5), (2, 0.5), (3, 0.5)]


@needs("wandb")
def test_wandb_offline(tmp_path: Path) -> None:
    told(Wandb(mode="offline"), tmp_path)
    assert len(list(tmp_path.glob("wandb/offline-run-*-mine-1/*.wandb"))) == 2


@needs("trackio")
def test_trackio(tmp_path: Path) -> None:
    """In a process of its own: it decides at its import where it writes."""
    import os
    import sqlite3
    import subprocess
    import sys

    code = (
        "from pathlib import Path; import importlib.util as u, sys\n"
        f"spec = u.spec_from_file_location('told', {__file__!r}); m = u.module_from_spec(spec)\n"
        f"spec.loader.exec_module(m); m.told(m.Trackio('sums'), Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"TRACKIO_DIR": str(tmp_path / "t")})
    with sqlite3.connect(tmp_path / "t" / "sums.db") as base:
        rows = base.execute("select run_name, step, cast(metrics as text) from metrics order by id").fetchall()
    assert {name for name, _, _ in rows} == {"mine-1"}
    assert [step for _, step, metrics in rows if "grpo/reward" in metrics] == [1, 2, 3]


@needs("mlflow")
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file://{tmp_path}/mlruns"
    told(MLflow("sums", uri), tmp_path)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("sums")
    (run,) = client.search_runs([experiment.experiment_id])
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "grpo/reward")] == [1, 2, 3]
    assert run.data.metrics["grpo/eval/pass_at_1"] == 0.25
    assert run.info.status == "FINISHED"
    table = json.loads(next(tmp_path.glob("mlruns/*/*/artifacts/completions/grpo.json")).read_text())
    assert table["data"] == [["best", "1 + 1 = ?", "2", 1.0, True, True]]


def test_names_of_the_command_line() -> None:
    assert by_name("wandb") == Wandb()
    assert by_name("mlflow:sums") == MLflow("sums")
    assert by_name("trackio:sums") == Trackio("sums")
    assert by_name("tensorboard") == TensorBoard()
    for wrong in ("wand", "tensorboard:x", ""):
        with pytest.raises(UserError, match="expected one of wandb, trackio, tensorboard, mlflow"):
            by_name(wrong)


def test_a_password_in_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groupwise.sinks.trackers.is_installed", lambda package: True)
    MLflow(tracking_uri="http://127.0.0.1:5000").refuse()
    with pytest.raises(UserError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        MLflow(tracking_uri="http://me:very-secret@127.0.0.1:5000").refuse()
    assert "very-secret" not in str(refused.value)


def test_sinks_may_change_while_a_run_goes_on() -> None:
    assert FREE.fullmatch("sinks")
    assert FREE.fullmatch("sinks.0.project")


@pytest.fixture
def words(tiny_model: Path, tmp_path: Path) -> list[str]:
    """A small run of the command line."""
    rows = [{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = "--steps 2 --prompts_per_step 2 --max_completion_tokens 8 --evaluation.max_completion_tokens 8"
    where = ["--model", str(tiny_model), "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out")]
    few = ["--evaluation.problems", "4", "--held_out", "0.4", "--reward", "math", "--evaluate_every", "1"]
    return ["run", "grpo", *where, *few, *sizes.split()]


def test_without_a_package_a_run_writes_nothing_of_it(words, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(trackers, "is_installed", lambda package: False)
    monkeypatch.setattr("groupwise.sinks.trackers.is_installed", lambda package: False)
    assert main([*words, "--sink", "tensorboard"]) == 2
    assert 'pip install "groupwise[tensorboard]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(words) == 0
    assert not (tmp_path / "out" / "tensorboard").exists()
    assert (tmp_path / "out" / "report.html").exists()


def test_a_tracker_that_fails_is_named_and_the_run_goes_on(words, tmp_path, monkeypatch, capsys) -> None:
    """And the completions of its evaluation are shown."""

    def no_disk(self: Any, about: RunInfo) -> Any:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(Wandb, "open", no_disk)
    monkeypatch.setattr(Wandb, "refuse", lambda self: None)
    assert main([*words, "--sink", "wandb:sums", "--sink", "tensorboard"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("sink Wandb: not opened, the run goes on without it: ConnectionError: no route to host") == 1
    assert (tmp_path / "out" / "tensorboard" / "grpo").is_dir()
    assert "  best, reward " in shown
    assert " + 1 = ? → " in shown
    recipe = json.loads((tmp_path / "out" / "run.json").read_text())["recipe"]
    assert recipe["sinks"][0] == {"is": "Wandb", "project": "sums", "entity": "", "mode": ""}


def test_the_best_the_worst_and_one_more(make_rollout: Callable[..., Rollout]) -> None:
    rollouts = [
        replace(make_rollout((1,), (2,), rewards={} if reward is None else {0: reward}), text=str(number))
        for number, reward in enumerate([0.5, None, 1.0, 0.0, 1.0, 0.0])
    ]
    chosen = to_look_at(rollouts, 7)
    assert (chosen["best"].text, chosen["worst"].text) == ("2", "5")
    assert chosen["random"].text in ("0", "1", "3", "4")
    assert to_look_at(rollouts, 7) == chosen
    assert len({to_look_at(rollouts, seed)["random"].text for seed in range(40)}) == 4
    assert list(to_look_at(rollouts[1:2], 7)) == ["random"]
    assert list(to_look_at(rollouts[:1], 7)) == ["best", "worst"]
    assert to_look_at([], 7) == {}


def test_a_run_takes_them_as_values() -> None:
    assert gw.Run("mine", "model", (), sinks=(gw.Wandb(project="sums"),)).sinks[0].project == "sums"
