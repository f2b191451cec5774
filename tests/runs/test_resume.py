"""Going on with a run: which checkpoints are there, what is done about damage, what is said of what has changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import groupwise as gw
from groupwise.errors import UserError
from groupwise.runs import environment
from groupwise.sinks import Sinks
from groupwise.sources import AllRollouts, FrozenPolicy
from groupwise.storage.manifest import damage
from groupwise.tasks.task import Task
from groupwise.training.interrupts import Stopped, stop_on_signals
from groupwise.types import Example

ROWS = [Example(f"row:{number}", "abcdefgh"[number]) for number in range(8)]


class BreakOff(BaseException):
    """What ends a run at once; an error of a sink does not."""


def odd(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text) % 2) for text in completions]


TASK = Task("letters", ROWS, (gw.as_reward(odd),), held_out=ROWS)
SOURCE = gw.OnPolicy(group_size=2, max_completion_tokens=6)
STAGE = gw.Stage(
    "grpo",
    replace(gw.recipes.grpo, source=SOURCE),
    TASK,
    7,
    4,
    learning_rate=5e-3,
    checkpoint_every=2,
    evaluate_every=3,
)
RECIPE = gw.Run(
    "small",
    gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64),
    (STAGE,),
    learner=gw.Local(device="cpu", threads=1),
    evaluation=gw.HeldOut(problems=4, sampled_problems=2, samples=2, max_completion_tokens=6, during=4),
)
SAMPLES = FrozenPolicy(samples_per_prompt=4, max_completion_tokens=6, sampling_temperature=1.0, select=AllRollouts())
GATHERING = replace(RECIPE, stages=(replace(STAGE, algorithm=replace(gw.recipes.rft, source=SAMPLES)),))


class Hears(Sinks):
    """Keeps the notes, and does something at a phase, a note or a step that it is told of."""

    def __init__(self, at: Any = None, act: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.at, self.act, self.notes = at, act, list[str]()

    def stage(self, name: str, steps: int, start: int) -> None:
        self.start = start

    def phase(self, name: str, done: int, total: int) -> None:
        self._do(name)

    def metrics(self, stage: str, step: int, values: Any) -> None:
        self._do(step)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._do(text.partition(": ")[2][:10])

    def _do(self, at: Any) -> None:
        if at == self.at:
            self.at = None
            self.act()


def breaks() -> None:
    raise BreakOff


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    return gw.run(RECIPE, tmp_path_factory.mktemp("whole") / "run", sinks=[]).directory


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first six steps; checkpoints 4 and 6."""
    out = tmp_path_factory.mktemp("broken") / "run"
    with pytest.raises(BreakOff):
        gw.run(RECIPE, out, sinks=[Hears(7, breaks)])
    return out


def same(one: Path, other: Path) -> None:
    for name in ("metrics.jsonl", "groups.json", "evaluation.json", "models/grpo/model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for path in (one / "ledger").rglob("*.parquet"):
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes(), path


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir() if not path.name.startswith("."))


def test_the_last_two_checkpoints_are_there_and_whole(broken_off: Path) -> None:
    assert names(broken_off) == ["grpo-000004", "grpo-000006", "latest"]
    assert (broken_off / "checkpoints" / "latest").resolve().name == "grpo-000006"
    assert all(damage(broken_off / "checkpoints" / name) == "" for name in names(broken_off))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    whole: Path, broken_off: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    out = shutil.copytree(broken_off, tmp_path / "run", symlinks=True)
    harm(out / "checkpoints" / "grpo-000006" / "groupwise_state.safetensors")
    hears = Hears()
    gw.run(RECIPE, out, sinks=[hears])
    assert hears.start == 4
    (said,) = (note for note in hears.notes if "damaged" in note)
    assert said.startswith("grpo: the checkpoint of step 6 is damaged: groupwise_state.safetensors ")
    assert names(out) == ["grpo-000007"]
    same(out, whole)


def test_without_a_whole_checkpoint_the_stage_begins_again(whole: Path, broken_off: Path, tmp_path: Path) -> None:
    out = shutil.copytree(broken_off, tmp_path / "run", symlinks=True)
    for step in (4, 6):
        flip(out / "checkpoints" / f"grpo-{step:06d}" / "model.safetensors")
    hears = Hears()
    gw.run(RECIPE, out, sinks=[hears])
    assert hears.start == 0
    assert sum("is damaged: model.safetensors" in note for note in hears.notes) == 2
    same(out, whole)


def test_a_damaged_model_of_a_stage_is_not_built_on(whole: Path, tmp_path: Path) -> None:
    out = shutil.copytree(whole, tmp_path / "run")
    record = json.loads((out / "run.json").read_text())
    del record["seconds"]
    (out / "run.json").write_text(json.dumps(record))
    flip(out / "models" / "grpo" / "model.safetensors")
    with pytest.raises(
        UserError, match=r"the model that grpo left is damaged: model\.safetensors has other bytes"
    ) as told:
        gw.run(RECIPE, out, sinks=[])
    assert "\n" not in str(told.value)


def test_some_stay_for_good(whole: Path, tmp_path: Path) -> None:
    """Every third, and the best: written where the evaluation is higher than before."""
    kept = gw.Checkpoints(keep_last=1, keep_every=4, keep_best="eval/pass@1")
    out = gw.run(replace(RECIPE, checkpoints=kept), tmp_path / "run", sinks=[]).directory
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    found = {row["step"]: row["eval/pass@1"] for row in rows if "eval/pass@1" in row}
    assert list(found) == [1, 3, 6]
    best = max(found, key=lambda step: found[step])
    assert names(out) == sorted({"grpo-000004", f"grpo-{best:06d}", "grpo-000007"})
    same(out, whole)


@pytest.mark.parametrize(
    "content", [b"", b"[", b'[{"stage": "gr', b"\0" * 4096, b"{}", b'"x"', b"\xff\xfe", b"[" * 9999]
)
def test_a_file_that_holds_nothing_any_more_begins_anew(
    content: bytes, whole: Path, broken_off: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(broken_off, tmp_path / "run", symlinks=True)
    (out / "groups.json").write_bytes(content)
    (out / "evaluation.json").write_bytes(content if content != b"{}" else b"[]")
    heard = Hears()
    gw.run(RECIPE, out, sinks=[heard])
    told = [note for note in heard.notes if "can't be read and is begun anew" in note]
    assert [note.partition(" ")[0] for note in told] == ["groups.json", "evaluation.json"]
    assert (out / "evaluation.json").read_bytes() == (whole / "evaluation.json").read_bytes()
    steps = {row["step"] for row in json.loads((out / "groups.json").read_text())}
    assert steps == {7}
    model = "models/grpo/model.safetensors"
    assert (out / model).read_bytes() == (whole / model).read_bytes()


@pytest.mark.parametrize("left", [0, 1, 400])
def test_the_best_is_known_when_the_file_of_steps_was_cut(left: int, tmp_path: Path) -> None:
    """At step 3 it is best; killed in step 6, and all that metrics.jsonl held is lost, or all but a part."""
    values = iter([0.1, 0.5, 0.2, 0.3])
    kept = gw.Checkpoints(keep_last=1, keep_best="eval/accuracy")
    recipe = replace(RECIPE, checkpoints=kept)
    out = tmp_path / "run"

    def measured(*_: Any) -> dict[str, float]:
        return {"eval/accuracy": next(values)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("groupwise.runs.evaluation_recorders.quick_evaluation", measured)
        with pytest.raises(BreakOff):
            gw.run(recipe, out, sinks=[Hears(6, breaks)])
        assert "grpo-000003" in names(out)
        os.truncate(out / "metrics.jsonl", left)
        gw.run(recipe, out, sinks=[])
    assert "grpo-000003" in names(out)
    assert "grpo-000006" not in names(out)


def test_how_many_are_kept_is_a_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--checkpoints\.keep_last is 0; expected a whole number, at least 1"):
        gw.run(replace(RECIPE, checkpoints=gw.Checkpoints(keep_last=0)), tmp_path / "run", sinks=[])
    assert gw.Checkpoints().kept([1, 2, 3, 4], None, finished=False) == {3, 4}
    assert gw.Checkpoints(keep_every=2).kept([1, 2, 3, 4, 5, 6], 3, finished=True) == {2, 3, 4, 6}
    assert gw.Checkpoints().kept([1, 2], 9, finished=True) == set()


def test_what_has_changed_is_said_once(
    whole: Path, broken_off: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(broken_off, tmp_path / "run", symlinks=True)
    real = environment.versions()
    monkeypatch.setattr(environment, "versions", lambda: real | {"torch": "9.9"})
    first, second = Hears(7, breaks), Hears()
    with pytest.raises(BreakOff):
        gw.run(RECIPE, out, sinks=[first])
    gw.run(RECIPE, out, sinks=[second])
    (said,) = (note for note in first.notes if "other conditions" in note)
    assert f"versions.torch: 9.9 (there: {real['torch']})" in said
    assert not any("other conditions" in note for note in second.notes)
    record = json.loads((out / "run.json").read_text())
    assert record["versions"]["torch"] == "9.9"
    assert record["continued"][0]["versions"]["torch"] == real["torch"]


def test_a_run_and_a_model_record_what_they_depend_on(whole: Path) -> None:
    for path in (whole / "run.json", whole / "models" / "grpo" / "groupwise_run.json"):
        record = json.loads(path.read_text())
        assert {"python", "groupwise", "torch", "transformers", "tokenizers", "numpy"} <= set(record["versions"])
        assert set(record["revisions"]) == {"groupwise", "working directory"}
        assert set(record["data"]) == {"grpo train", "grpo held out"}
        assert len(record["recipe_sha256"]) == 64
    assert "started" not in record


def test_data_and_revisions_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = replace(STAGE, task=replace(TASK, train=[*ROWS[:3], replace(ROWS[3], answer="x"), *ROWS[4:]]))
    one, other = environment.data_hashes([STAGE]), environment.data_hashes([changed])
    assert one["grpo held out"] == other["grpo held out"]
    assert one["grpo train"] != other["grpo train"]
    monkeypatch.chdir(tmp_path)
    assert environment.revisions()["working directory"] == ""


TERM, INT = signal.SIGTERM, signal.SIGINT
ANYWHERE: list[tuple[Any, int | None, int]] = [
    ("opening", 0, TERM),
    ("sample", 0, TERM),
    ("sample", 0, INT),
    ("train", 0, TERM),
    ("train", 0, INT),
    (3, 3, TERM),
    ("evaluate", 1, TERM),
    ("evaluating", None, TERM),
]


@pytest.mark.parametrize(("at", "step", "number"), ANYWHERE)
def test_a_signal_anywhere_loses_nothing(whole: Path, tmp_path: Path, at: Any, step: int | None, number: int) -> None:
    """While the model is opened, in a draw, before the first update, after a step, in a quick evaluation (which is
    finished), and in the evaluation of the stage's model."""
    heard = "the model " if at == "opening" else at
    with stop_on_signals(), pytest.raises(Stopped) as stopped:
        gw.run(RECIPE, tmp_path / "run", sinks=[Hears(heard, lambda: signal.raise_signal(number))])
    assert stopped.value.signal == number
    where = {None: "between two steps", 0: "before the first step of grpo"}
    assert str(stopped.value) == f"stopped {where.get(step, f'after step {step} of grpo, saved')}"
    hears = Hears()
    gw.run(RECIPE, tmp_path / "run", sinks=[hears])
    assert step is None or hears.start == step
    same(tmp_path / "run", whole)


def test_a_signal_while_samples_are_gathered(tmp_path: Path) -> None:
    whole = gw.run(GATHERING, tmp_path / "whole", sinks=[]).directory
    with stop_on_signals(), pytest.raises(Stopped, match="before the first step"):
        gw.run(GATHERING, tmp_path / "run", sinks=[Hears("sample", lambda: signal.raise_signal(signal.SIGTERM))])
    gw.run(GATHERING, tmp_path / "run", sinks=[])
    same(tmp_path / "run", whole)
    name = Path("gathered") / "grpo.jsonl"
    assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


def test_a_step_that_has_updated_is_finished_first(whole: Path, tmp_path: Path) -> None:
    """Two updates a draw: asked to stop between them, the step is done, saved and not repeated."""
    recipe = replace(RECIPE, stages=(replace(STAGE, minibatches=2),))
    expected = gw.run(recipe, tmp_path / "whole", sinks=[]).directory

    class AfterFirst(Hears):
        def phase(self, name: str, done: int, total: int) -> None:
            if (name, done) == ("train", total):
                self._do("last rows")

    asked = AfterFirst("last rows", lambda: signal.raise_signal(signal.SIGTERM))
    with stop_on_signals(), pytest.raises(Stopped, match="after step 1 of grpo"):
        gw.run(recipe, tmp_path / "run", sinks=[asked])
    gw.run(recipe, tmp_path / "run", sinks=[])
    same(tmp_path / "run", expected)
