"""What quick evaluations ask and say, and that ``keep_best`` names one of their metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import groupwise as gw
from groupwise.algorithm import KL
from groupwise.errors import UserError
from groupwise.output.sample_completions import SampleCompletion
from groupwise.rewards import FinalAnswer, LengthPenalty
from groupwise.runs.quick_evaluation import quick_metrics, refuse_unknown_best
from groupwise.runs.recipe import validate
from groupwise.sinks import Sinks
from groupwise.sources import StepLabels
from groupwise.tasks import held_out_sets
from groupwise.types import Example

SUMS = [Example(f"sums:{n}", f"{n}+1=", answer=str(n + 1)) for n in range(4)]
DOUBLES = [Example(f"doubles:{n}", f"2*{n}=", answer=str(2 * n)) for n in range(4)]
TASK = gw.Task("numbers", SUMS, (FinalAnswer(),), held_out=held_out_sets({"sums": SUMS, "org/doubles": DOUBLES}))
ALGORITHM = replace(gw.recipes.grpo, source=gw.OnPolicy(group_size=2, max_completion_tokens=4), kl=KL(0.0))
STAGE = gw.Stage("grpo", ALGORITHM, TASK, steps=2, prompts_per_step=2, evaluate_every=2)
PLAN = gw.HeldOut(problems=0, max_completion_tokens=4, during=3, during_samples=4)


def test_every_metric_that_is_promised_is_said_and_no_other(tiny_model: Path, tmp_path: Path) -> None:
    run = gw.Run("quick", str(tiny_model), (STAGE,), gw.Local(device="cpu", threads=1), evaluation=PLAN)
    out = gw.run(run, tmp_path / "run", sinks=[]).directory
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    names = ["accuracy", "pass@1", "pass@2", "pass@4", "maj@2", "maj@4"]
    expected = [f"{where}/{name}" for where in ("eval", "eval/sums", "eval/org/doubles") for name in names]
    assert quick_metrics(STAGE, PLAN) == expected
    for row in rows:
        assert [name for name in row if name.startswith("eval/")] == expected
        for name in names:  # three problems of each set
            mean = (row[f"eval/sums/{name}"] + row[f"eval/org/doubles/{name}"]) / 2
            assert row[f"eval/{name}"] == pytest.approx(mean)


class Shown(Sinks):
    """Hears steps and completions, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, list[str]]] = []

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.heard.append((f"step {step}", []))

    def completions(self, name: str, chosen: Mapping[str, SampleCompletion]) -> None:
        self.heard.append((name, [*chosen]))


def test_its_completions_are_shown_behind_the_numbers_of_their_step(tiny_model: Path, tmp_path: Path) -> None:
    stage, shown = replace(STAGE, steps=5), Shown()
    run = gw.Run("quick", str(tiny_model), (stage,), gw.Local(device="cpu", threads=1), evaluation=PLAN)
    gw.run(run, tmp_path / "run", sinks=[shown])
    kinds = ["best", "worst", "random"]
    assert shown.heard == [
        ("step 1", []),
        ("grpo at step 1", kinds),
        ("step 2", []),
        ("grpo at step 2", kinds),
        ("step 3", []),
        ("step 4", []),
        ("grpo at step 4", kinds),
        ("step 5", []),
    ]


def test_with_one_sample_and_one_set_it_is_what_it_was() -> None:
    plain = replace(STAGE, task=replace(TASK, held_out=SUMS))
    assert quick_metrics(plain, gw.HeldOut()) == ["eval/accuracy", "eval/pass@1"]
    assert quick_metrics(replace(plain, evaluate_every=0), PLAN) == []
    assert quick_metrics(replace(plain, task=replace(TASK, held_out=())), PLAN) == []
    two = replace(plain, task=replace(TASK, held_out=SUMS, rewards=(FinalAnswer(), LengthPenalty(4, 2))))
    assert quick_metrics(two, gw.HeldOut())[2:] == ["eval/rewards/answer/mean", "eval/rewards/length/mean"]


def test_without_votes_there_is_no_majority() -> None:
    task = replace(TASK, held_out=SUMS, rewards=(gw.as_reward(lambda completion: 1.0, name="mine"),))
    assert quick_metrics(replace(STAGE, task=task), PLAN) == [
        "eval/accuracy",
        "eval/pass@1",
        "eval/pass@2",
        "eval/pass@4",
    ]


def test_scorers_say_their_own() -> None:
    pairs = replace(STAGE, algorithm=gw.recipes.reward_model)
    assert quick_metrics(pairs, PLAN) == ["eval/accuracy"]
    labels = replace(STAGE, algorithm=replace(gw.recipes.process_reward_model, source=StepLabels()))
    assert quick_metrics(labels, PLAN) == ["eval/accuracy", "eval/auc", "eval/first_error"]


@pytest.mark.parametrize("name", ["eval/accuracy", "eval/maj@4", "eval/org/doubles/pass@2"])
def test_keep_best_names_any_of_them(name: str) -> None:
    assert name in quick_metrics(STAGE, PLAN)
    refuse_unknown_best([STAGE], PLAN, gw.Checkpoints(keep_best=name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "eval/acuracy",
            r"no quick evaluation says, perhaps you meant eval/accuracy; there are eval/accuracy, eval/pass",
        ),
        ("eval/sums/maj@8", r"perhaps you meant eval/sums/maj@4"),
        ("reward", r"checkpoints\.keep_best is reward, which no quick evaluation says.*there are eval/accuracy, "),
    ],
)
def test_another_name_is_refused_with_the_list(name: str, message: str, tiny_model: Path) -> None:
    run = gw.Run("quick", str(tiny_model), (STAGE,), evaluation=PLAN, checkpoints=gw.Checkpoints(keep_best=name))
    with pytest.raises(UserError, match=message):
        validate(run)


def test_and_so_is_one_without_quick_evaluations(tiny_model: Path) -> None:
    stage = replace(STAGE, evaluate_every=0)
    kept = gw.Checkpoints(keep_best="eval/accuracy")
    with pytest.raises(
        UserError, match="no stage makes quick evaluations on held-out problems; set a stage's evaluate"
    ):
        validate(gw.Run("quick", str(tiny_model), (stage,), checkpoints=kept))


def test_no_sample_is_no_evaluation(tiny_model: Path) -> None:
    recipe = gw.Run("quick", str(tiny_model), (STAGE,), evaluation=gw.HeldOut(during_samples=0))
    with pytest.raises(UserError, match=r"--evaluation\.during_samples is 0; expected a whole number, at least 1"):
        validate(recipe)
