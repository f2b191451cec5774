"""A run can go on longer: what no step depends on may change, and more steps are those of a longer run, to the byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import groupwise as gw
from groupwise.config.describe import describe
from groupwise.errors import UserError
from groupwise.learners.config import Lora
from groupwise.runs.changes import accepted
from groupwise.runs.directory import RunDirectory
from groupwise.sinks import Sinks
from groupwise.tasks.task import Task
from groupwise.training.interrupts import Stopped
from groupwise.types import Example


class PowerCut(BaseException):
    """Ends a run at once, as no fault of a sink does."""


ROWS = [Example(f"row:{number}", "abcdefgh"[number], completion="ab" * (number % 3 + 1)) for number in range(8)]


def odd(completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(text) % 2) for text in completions]


TASK = Task("letters", ROWS, (gw.as_reward(odd),), held_out=ROWS)
SFT = gw.Stage("sft", gw.recipes.sft, TASK, 3, 4, learning_rate=5e-3, checkpoint_every=0)
RL = gw.Stage(
    "grpo",
    replace(gw.recipes.grpo, source=gw.OnPolicy(group_size=2, max_completion_tokens=6)),
    TASK,
    4,
    4,
    learning_rate=5e-3,
    checkpoint_every=3,
    evaluate_every=2,
)
RECIPE = gw.Run(
    "small",
    gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64),
    (SFT, RL),
    learner=gw.Local(device="cpu", threads=1),
    evaluation=gw.HeldOut(problems=4, sampled_problems=2, samples=2, max_completion_tokens=6, during=4),
)


def with_last(recipe: gw.Run = RECIPE, **changes: Any) -> gw.Run:
    return replace(recipe, stages=(*recipe.stages[:-1], replace(recipe.stages[-1], **changes)))


def ran(recipe: gw.Run, out: Path) -> Path:
    return gw.run(recipe, out, sinks=[]).directory


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ran(RECIPE, tmp_path_factory.mktemp("short") / "run")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ran(with_last(steps=9), tmp_path_factory.mktemp("long") / "run")


@pytest.fixture
def out(short: Path, tmp_path: Path) -> Path:
    """A copy of the short run."""
    return shutil.copytree(short, tmp_path / "run", symlinks=True)


def same(one: Path, other: Path) -> None:
    models = [path.relative_to(one) for path in (one / "models/grpo").iterdir() if path.name != "README.md"]
    assert len(models) > 4
    for name in ("metrics.jsonl", "evaluation.json", *models):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    ledgers = sorted(path.relative_to(one) for path in (one / "ledger").rglob("*.parquet"))
    assert ledgers == sorted(path.relative_to(other) for path in (other / "ledger").rglob("*.parquet"))
    for path in ledgers:
        assert (one / path).read_bytes() == (other / path).read_bytes(), path


def test_a_finished_run_made_longer_is_the_longer_run(out: Path, long: Path) -> None:
    notes = Notes()
    outcome = gw.run(with_last(steps=9), out, sinks=[notes])
    assert not outcome.already_finished
    same(out, long)
    assert "goes on with grpo.steps: 9 (there: 4)" in notes.heard
    record = json.loads((out / "run.json").read_text())
    assert record["recipe"]["stages"][1]["steps"] == 9
    assert record["stages"] == [{"name": "sft", "steps": 3}, {"name": "grpo", "steps": 9}]
    assert [change["options"] for change in record["changes"]] == [["grpo.steps: 9 (there: 4)"]]
    assert record["recipe_sha256"] == json.loads((long / "run.json").read_text())["recipe_sha256"]
    assert gw.run(with_last(steps=9), out, sinks=[]).already_finished


def test_a_run_that_began_before_an_option_was_there_goes_on(out: Path, long: Path) -> None:
    """It had what the option's default stands for; and no edit of the package's own code ends a run."""
    record = json.loads((out / "run.json").read_text())
    del record["recipe"]["learner"]["lora"]["dropout"], record["recipe"]["checkpoints"]["keep_best"]
    del record["recipe"]["stages"][0]["most_skipped_steps"], record["recipe"]["evaluation"]["min_p"]
    record["recipe"]["stages"][1]["algorithm"]["source"]["signal"]["sha256"] = "e21a0f7e99144a82"
    (out / "run.json").write_text(json.dumps(record))
    lora = replace(RECIPE.learner, lora=Lora(dropout=0.5))
    with pytest.raises(UserError, match=r"differ in learner\.lora\.dropout: 0\.5 \(there: None\): the steps"):
        ran(replace(RECIPE, learner=lora), out)
    assert gw.run(RECIPE, out, sinks=[]).already_finished
    same(ran(with_last(steps=9), out), long)


FREE = [
    replace(RECIPE, learner=gw.FSDP(device="cpu", threads=1, processes=4, context=2)),
    replace(RECIPE, learner=gw.Local(device="cpu", threads=1, tokens_per_micro_batch=99, checkpointing=True)),
]


@pytest.mark.parametrize("recipe", FREE)
def test_what_only_rounds_otherwise_may_change(out: Path, recipe: gw.Run) -> None:
    """Several processes, and less memory."""
    place, then = RunDirectory(out), json.loads((out / "run.json").read_text())["recipe"]
    assert accepted(place, describe(recipe), then).words
    assert accepted(place, then, describe(recipe)).words


def test_servers_may_move_while_a_run_is_stopped(out: Path) -> None:
    """With --ray_servers they have other addresses each time."""
    one = replace(RECIPE, engine=gw.VLLMServers(("http://a:1", "http://b:1"), "runs/a"))
    others = [
        gw.VLLMServers(("http://a:1", "http://c:1"), "runs/a"),
        gw.VLLMServers(("http://a:1",), "runs/b", concurrent=8, in_flight="keep", timeout_seconds=9, attempts=2),
    ]
    for engine in others:
        assert accepted(RunDirectory(out), describe(replace(one, engine=engine)), describe(one)).words
    with pytest.raises(UserError, match=r"engine\.is: Native \(there: VLLMServers\): another rounds otherwise"):
        accepted(RunDirectory(out), describe(RECIPE), describe(one))


def test_twice_and_with_other_cadences(out: Path, long: Path) -> None:
    """In two pieces, with a quick evaluation at the same steps and other checkpoints on the way."""
    ran(with_last(steps=6, checkpoint_every=2), out)
    ran(replace(with_last(steps=9), checkpoints=gw.Checkpoints(keep_every=3)), out)
    ours, theirs = ((path / "models/grpo/model.safetensors").read_bytes() for path in (out, long))
    assert ours == theirs
    assert (out / "metrics.jsonl").read_bytes() == (long / "metrics.jsonl").read_bytes()
    assert len(json.loads((out / "run.json").read_text())["changes"]) == 2


def test_a_stopped_run_may_end_earlier_or_later(tmp_path: Path, long: Path) -> None:
    with pytest.raises(PowerCut):
        gw.run(with_last(steps=7), tmp_path / "run", sinks=[Notes(breaks_at=5)])
    with pytest.raises(UserError, match=r"grpo\.steps: 2 \(there: 7\): 3 steps are taken already"):
        ran(with_last(steps=2), tmp_path / "run")
    same(ran(with_last(steps=9), tmp_path / "run"), long)


def test_lora_and_an_optimiser_in_eight_bits(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    learner = gw.Local(device="cpu", threads=1, optimizer_bits=8, lora=Lora(rank=2))
    recipe = replace(RECIPE, learner=learner, stages=(replace(RL, steps=2),))
    ran(recipe, tmp_path / "a")
    ran(with_last(recipe, steps=4), tmp_path / "a")
    ran(with_last(recipe, steps=4), tmp_path / "b")
    ours, theirs = ((tmp_path / name / "models/grpo/model.safetensors").read_bytes() for name in "ab")
    assert ours == theirs


def test_another_evaluation_is_made_of_the_models_that_are_there(out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (out / "models").rglob("*.safetensors")}
    plan = replace(RECIPE.evaluation, problems=6)
    outcome = gw.run(replace(RECIPE, evaluation=plan), out, sinks=[])
    assert {name: found.problems for name, found in outcome.evaluations.items() if name in ("sft", "grpo")} == {
        "sft": 6, "grpo": 6
    }  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in (out / "models").rglob("*.safetensors")} == before


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_falling_schedule_needs_its_own_length(tmp_path: Path, schedule: Any) -> None:
    falling = replace(RECIPE, stages=(replace(RL, schedule=schedule, learning_rate_floor=0.5),))
    ran(falling, tmp_path / "a")
    with pytest.raises(UserError, match=r"falls \(.*, over 4 steps\); with --schedule_steps 4 it does so, too"):
        ran(with_last(falling, steps=6), tmp_path / "a")
    ran(with_last(falling, steps=6, schedule_steps=4), tmp_path / "a")
    ran(with_last(falling, steps=6, schedule_steps=4), tmp_path / "b")
    same(tmp_path / "a", tmp_path / "b")
    rates = [json.loads(line)["learning_rate"] for line in (tmp_path / "a/metrics.jsonl").read_text().splitlines()]
    assert rates[4:] == [2.5e-3, 2.5e-3]
    assert rates[0] > rates[1] > rates[2] > rates[3] > rates[4]


REFUSED: list[tuple[gw.Run, str]] = [
    (replace(RECIPE, seed=1), r"seed: 1 \(there: 0\): every sample and every order of rows follows from it"),
    (with_last(steps=3), r"grpo\.steps: 3 \(there: 4\): 4 steps are taken already"),
    (with_last(learning_rate=0.1), r"learning_rate: 0\.1 \(there: 0\.005\): the steps already taken were made with it"),
    (with_last(prompts_per_step=2), "prompts_per_step"),
    (with_last(task=replace(TASK, train=ROWS[:4])), r"grpo\.task.*of these rows, rewards and prompts"),
    (replace(RECIPE, learner=gw.Local(device="cpu", threads=2)), r"learner\.threads: .*another rounds otherwise"),
    (replace(RECIPE, stages=(replace(SFT, steps=5), RL)), "the stage after it begins with the model that it left"),
    (replace(RECIPE, stages=(*RECIPE.stages, replace(RL, name="more"))), "a stage more or less is another run"),
]


@pytest.mark.parametrize(("recipe", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_what_would_change_the_past_is_refused_with_its_reason(out: Path, recipe: gw.Run, why: str) -> None:
    before = (out / "run.json").read_bytes()
    with pytest.raises(UserError, match=why) as caught:
        ran(recipe, out)
    assert "Choose another --out, or start over with --fresh" in str(caught.value)
    assert (out / "run.json").read_bytes() == before
    assert (out / "models/grpo").exists()


def test_without_its_end_a_stage_cannot_go_on(tmp_path: Path, out: Path) -> None:
    kept = replace(RECIPE, stages=(replace(RL, steps=1),), checkpoints=gw.Checkpoints(keep_end=False))
    ran(kept, tmp_path / "a")
    assert not list(tmp_path.glob("a/checkpoints/*"))
    with pytest.raises(UserError, match=r"is not kept .* a new run with --model .*models/grpo goes on from"):
        ran(with_last(kept, steps=2), tmp_path / "a")
    (out / "checkpoints/grpo-000004/model.safetensors").unlink()
    with pytest.raises(UserError, match=r"is damaged: model\.safetensors is missing"):
        ran(with_last(steps=9), out)
    assert (out / "models/grpo").exists()


def test_a_stage_that_has_not_begun_may_be_otherwise(tmp_path: Path) -> None:
    with pytest.raises(PowerCut):
        gw.run(RECIPE, tmp_path / "run", sinks=[Notes(breaks_at=2)])
    ran(with_last(learning_rate=1e-3, prompts_per_step=2), tmp_path / "run")
    ran(with_last(learning_rate=1e-3, prompts_per_step=2), tmp_path / "other")
    same(tmp_path / "run", tmp_path / "other")


def test_a_run_killed_while_it_was_lengthened_goes_on(
    out: Path, short: Path, long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the removal of the shorter stage's model and the record of the change."""
    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "write_record", lambda self, values: (_ for _ in ()).throw(Stopped("killed")))
        with pytest.raises(Stopped):
            ran(with_last(steps=9), out)
    assert not (out / "models/grpo").exists()
    again = shutil.copytree(out, tmp_path / "again", symlinks=True)
    same(ran(with_last(steps=9), out), long)
    same(ran(RECIPE, again), short)


class Notes(Sinks):
    """Keeps the notes, and breaks the run off at a step."""

    def __init__(self, breaks_at: int | None = None) -> None:
        super().__init__()
        self.breaks_at, self.heard = breaks_at, list[str]()

    def note(self, text: str) -> None:
        self.heard.append(text)

    def metrics(self, stage: str, step: int, values: Any) -> None:
        if step == self.breaks_at:
            raise PowerCut
