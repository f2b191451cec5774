"""The model that a run begins with is evaluated too, once, and every report has a before and an after."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import groupwise as gw
from groupwise.algorithm import KL
from groupwise.evaluation.moments import before, moment
from groupwise.runs.evaluations import changes
from groupwise.types import Example

TASK = gw.tasks.stepwise(level=1, held_out_size=6)
ALGORITHM = replace(gw.recipes.grpo, source=gw.OnPolicy(group_size=2, max_completion_tokens=6), kl=KL(0.0))
HELD_OUT = gw.HeldOut(problems=6, sampled_problems=3, samples=2, max_completion_tokens=6, during=3)
STAGE = gw.Stage("grpo", ALGORITHM, TASK, steps=3, prompts_per_step=2, learning_rate=1e-2, checkpoint_every=1)


class BreakOff(BaseException):
    """What ends a run at once; an error of a sink does not."""


class Notes:
    """A sink that keeps the notes, and breaks off at a step."""

    def __init__(self, fail_at: int = 0) -> None:
        self.fail_at, self.notes = fail_at, list[str]()

    def stage(self, name: str, steps: int, start: int) -> None:
        pass

    def phase(self, name: str, done: int, total: int) -> None:
        pass

    def metrics(self, stage: str, step: int, values: Any) -> None:
        if step == self.fail_at:
            raise BreakOff(step)

    def completions(self, name: str, chosen: Any) -> None:
        assert set(chosen) <= {"best", "worst", "random"}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self, summary: Any) -> None:
        pass


def recipe(model: Path | gw.NewModel, *stages: gw.Stage, **changed: Any) -> gw.Run:
    learner = gw.Local(device="cpu", threads=1)
    start = model if isinstance(model, gw.NewModel) else str(model)
    return replace(gw.Run("before", start, stages or (STAGE,), learner, evaluation=HELD_OUT), **changed)


def evaluated(*given: Any, **changed: Any) -> list[str]:
    """The names in evaluation.json of a run in a directory, the first argument."""
    directory, *rest = given
    gw.run(recipe(*rest, **changed), directory, sinks=[])
    found = json.loads((directory / "evaluation.json").read_text())
    return [each["stage"] for each in found["models"]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[gw.Outcome, list[str], gw.Run]:
    model = tmp_path_factory.mktemp("model") / "model"
    gw.NewModel(hidden_size=32, layers=2, heads=2, intermediate_size=64, context_tokens=64).save(model)
    heard, made = Notes(), recipe(model)
    return gw.run(made, tmp_path_factory.mktemp("whole") / "run", sinks=[heard]), heard.notes, made


def test_a_run_of_one_stage_has_a_before_and_an_after(whole: tuple[gw.Outcome, list[str], gw.Run]) -> None:
    outcome, notes, _ = whole
    assert list(outcome.evaluations) == ["before grpo", "grpo"]
    was, now = outcome.evaluations.values()
    assert was.ids == now.ids
    assert was.settings == now.settings
    line = next(note for note in notes if note.startswith("before grpo -> after grpo: greedy accuracy "))
    assert re.search(r"pass@1 [\d.]+ -> [\d.]+, paired [+-][\d.]+ \[[+-][\d.]+, [+-][\d.]+\]; pass@2 ", line)
    saved = json.loads((outcome.directory / "evaluation.json").read_text())
    assert saved["comparison"]["pass_at_1"]["value"] == pytest.approx(now.pass_at_1.value - was.pass_at_1.value)


def test_report_and_card_show_both(whole: tuple[gw.Outcome, list[str], gw.Run]) -> None:
    outcome, _, _ = whole
    report = (outcome.directory / "report.html").read_text()
    assert '"moments":["before grpo","after grpo"]' in report
    card = (outcome.model / "README.md").read_text()
    assert "| measure | problems | value | 95 % interval | before grpo | paired difference |" in card
    assert re.search(r"\| pass@1 \| 6 \| .* \| [\d.]+ \| [+-][\d.]+ \([+-][\d.]+ to [+-][\d.]+\) \|", card)


@pytest.mark.parametrize("fail_at", [1, 2])
def test_it_is_not_made_again_after_a_break(
    whole: tuple[gw.Outcome, list[str], gw.Run], tmp_path: Path, fail_at: int
) -> None:
    outcome, _, made = whole
    first, second = Notes(fail_at), Notes()
    with pytest.raises(BreakOff):
        gw.run(made, tmp_path / "run", sinks=[first])
    again = gw.run(made, tmp_path / "run", sinks=[second])
    made_of_it = [note for note in first.notes + second.notes if note.startswith("before grpo: evaluating")]
    assert len(made_of_it) == 1
    for name in ("evaluation.json", "metrics.jsonl"):
        assert (again.directory / name).read_bytes() == (outcome.directory / name).read_bytes()


def test_it_changes_nothing_in_the_training(whole: tuple[gw.Outcome, list[str], gw.Run], tmp_path: Path) -> None:
    outcome, _, made = whole
    without = gw.run(replace(made, evaluate_first=False), tmp_path / "run", sinks=[])
    assert list(without.evaluations) == ["grpo"]
    left = "models/grpo/model.safetensors"
    for name in ("metrics.jsonl", left):
        assert (without.directory / name).read_bytes() == (outcome.directory / name).read_bytes()


def test_random_weights_are_not_evaluated_and_what_imitation_made_of_them_is(tmp_path: Path) -> None:
    """Only where nothing says what is right while imitation is learned has the next stage a before of its own."""
    new = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
    imitation = gw.Stage("sft", gw.recipes.sft, TASK, steps=1, prompts_per_step=2)
    assert evaluated(tmp_path / "1", new) == ["grpo"]
    assert evaluated(tmp_path / "2", new, imitation, STAGE) == ["sft", "grpo"]
    unjudged = replace(imitation, task=replace(TASK, rewards=()))
    assert evaluated(tmp_path / "3", new, unjudged, STAGE) == ["before grpo", "grpo"]


def test_a_run_of_a_reward_model_alone_has_none(tiny_model: Path, tmp_path: Path) -> None:
    pairs = [Example(str(n), f"{n}?", columns={"chosen": "yes", "rejected": "no"}) for n in range(4)]
    scorer = gw.Stage("rm", gw.recipes.reward_model, gw.Task("pairs", pairs, held_out=pairs), 1, prompts_per_step=2)
    outcome = gw.run(recipe(tiny_model, scorer), tmp_path / "run", sinks=[])
    assert outcome.evaluations == {}
    assert list(outcome.scorers) == ["rm"]


def test_where_it_cannot_be_judged_training_goes_on_to_say_why(tiny_model: Path, tmp_path: Path) -> None:
    def broken(completion: str) -> float:
        raise KeyError("answer")

    heard = Notes()
    stage = replace(STAGE, task=replace(TASK, rewards=(gw.as_reward(broken),)))
    with pytest.raises(gw.UserError, match=r"grpo: [34] of a step's 4 completions have no reward.*KeyError"):
        gw.run(recipe(tiny_model, stage), tmp_path / "run", sinks=[heard])
    assert any(re.match(r"before grpo: not evaluated: .*KeyError", note) for note in heard.notes)


def test_names_and_lines() -> None:
    assert (before("grpo"), moment("before grpo"), moment("grpo")) == ("before grpo", "before grpo", "after grpo")
    assert changes({}) == []
