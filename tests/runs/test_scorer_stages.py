"""Stages that train scorers, in one run with policies: from pairs, labels and samples; broken off, continued to the
bit, evaluated, refused where they cannot mean what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import groupwise as gw
from groupwise import recipes
from groupwise.algorithm import KL, BradleyTerry, Constant, StepCrossEntropy
from groupwise.errors import UserError
from groupwise.ledger.files import Ledger
from groupwise.rewards import ModelReward
from groupwise.runs.recipe import validate
from groupwise.sinks import Sinks
from groupwise.sources import AllRollouts, FrozenPolicy
from groupwise.tasks.task import Task
from groupwise.types import Example

LETTERS = "abcdefgh"


class BreakOff(BaseException):
    """What ends a run at once; an error of a sink does not."""


def pair(number: int) -> Example:
    """Better is the prompt's letter twice."""
    letter, other = LETTERS[number % 8], LETTERS[(number + 1 + number // 8) % 8]
    return Example(f"pair:{number}", letter, columns={"chosen": letter * 2, "rejected": letter + other})


def steps(number: int) -> Example:
    """A step is right where it is the prompt's letter twice."""
    letter, wrong = LETTERS[number % 8], number % 3
    texts = [letter + (LETTERS[(number + 3) % 8] if step == wrong else letter) for step in range(2)]
    return Example(f"steps:{number}", letter, columns={"completions": texts, "labels": [k != wrong for k in range(2)]})


def odd(completions: list[str], **columns: Any) -> list[float]:
    return [float(len(text) % 2) for text in completions]


PAIRS = Task("pairs", tuple(map(pair, range(40))), held_out=tuple(map(pair, range(40, 48))))
STEPS = Task("steps", tuple(map(steps, range(40))), held_out=tuple(map(steps, range(40, 52))))
ROWS = tuple(Example(f"row:{number}", LETTERS[number]) for number in range(8))
RULE = Task("rule", ROWS, (gw.as_reward(odd),), held_out=ROWS)
SAMPLES = FrozenPolicy(samples_per_prompt=6, sampling_temperature=1.0, max_completion_tokens=6, select=AllRollouts())


def stage(name: str, algorithm: Any, task: Task, **plan: Any) -> gw.Stage:
    defaults = {"steps": 3, "prompts_per_step": 8, "learning_rate": 5e-3, "checkpoint_every": 1}
    return gw.Stage(name, algorithm, task, **defaults | plan)


BEST = replace(
    recipes.reward_model_samples, source=replace(recipes.reward_model_samples.source, max_completion_tokens=6)
)
OUTCOME = replace(recipes.process_reward_model, source=SAMPLES)
RECIPE = gw.Run(
    name="scorers",
    model=gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64),
    stages=(
        stage("begin", recipes.sft, Task("demonstrations", tuple(replace(pair(n), completion="aa") for n in range(8)))),
        stage("pairs", recipes.reward_model, PAIRS, evaluate_every=2),
        stage("steps", recipes.process_reward_model, STEPS, start="begin", evaluate_every=2),
        stage("best", BEST, RULE, start="begin", minibatches=2, epochs=2),
        stage("outcome", OUTCOME, RULE, start="first"),
    ),
    learner=gw.Local(device="cpu", threads=1),
    evaluation=gw.HeldOut(problems=16, sampled_problems=4),
)


class Breaks(Sinks):
    """Ends the run with an error at one step of each stage, once."""

    def __init__(self, at: set[tuple[str, int]]) -> None:
        super().__init__()
        self.at, self.notes = at, list[str]()
        self.heard: dict[tuple[str, int], dict[str, float]] = {}

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if (stage, step) in self.at:
            self.at.discard((stage, step))
            raise BreakOff(f"{stage} {step}")
        self.heard[stage, step] = dict(values)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[gw.Outcome, Breaks]:
    sink = Breaks(set())
    return gw.run(RECIPE, tmp_path_factory.mktemp("straight") / "run", sinks=[sink]), sink


def test_a_run_that_breaks_off_in_every_stage_continues_to_the_bit(
    straight: tuple[gw.Outcome, Breaks], tmp_path: Path
) -> None:
    whole, _ = straight
    sink = Breaks({(stage.name, 2) for stage in RECIPE.stages})
    for _ in RECIPE.stages:
        with pytest.raises(BreakOff):
            gw.run(RECIPE, tmp_path / "run", sinks=[sink])
    again = gw.run(RECIPE, tmp_path / "run", sinks=[sink])
    for plan in RECIPE.stages:
        ours, theirs = (load_file(one.directory / "models" / plan.name / "model.safetensors") for one in (again, whole))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), plan.name
    assert again.scorers == whole.scorers


def test_every_scorer_is_evaluated_as_one(straight: tuple[gw.Outcome, Breaks]) -> None:
    """Policies and scorers stand apart in evaluation.json; the report and the cards tell of both."""
    outcome, sink = straight
    kinds = {name: found.kind for name, found in outcome.scorers.items()}
    assert kinds == {"pairs": "pairs", "steps": "steps", "best": "pairs", "outcome": "steps"}
    assert outcome.scorers["pairs"].counts["pairs"] == 8
    assert outcome.scorers["steps"].counts == {"steps": 24, "solutions": 12, "faulty": 8}
    assert outcome.evaluations == {}
    kept = json.loads((outcome.directory / "evaluation.json").read_text())
    assert kept["models"] == []
    assert [row["stage"] for row in kept["scorers"]] == list(kinds)
    assert '"scorers":[{"stage":"pairs"' in (outcome.directory / "report.html").read_text()
    assert "AutoModelForSequenceClassification" in (outcome.directory / "models" / "steps" / "README.md").read_text()
    assert any(note.startswith("pairs: accuracy") for note in sink.notes)


def test_metrics_are_those_of_scores(straight: tuple[gw.Outcome, Breaks]) -> None:
    _, sink = straight
    assert {"score_accuracy", "score_margin", "score", "eval/accuracy"} <= set(sink.heard["pairs", 2])
    assert {"score_accuracy", "score", "eval/auc", "eval/first_error"} <= set(sink.heard["steps", 2])
    for name in ("pairs", "steps", "best", "outcome"):
        heard = set(sink.heard[name, 3])
        assert not heard & {"entropy", "kl", "engine_learner_gap", "clip_ratio/high_mean"}


def test_the_ledger_says_that_it_keeps_scores(straight: tuple[gw.Outcome, Breaks]) -> None:
    outcome, _ = straight
    rows = Ledger(outcome.directory / "ledger").read("outcome", 1)
    assert {row["reads"] for row in rows} == {"scores"}
    assert any(score > 0 for row in rows for score in row["logprobs"])
    assert all(row["old_logprobs"] is None for row in rows)
    ends = {(row["coefficients"][-1] > 0) == (row["reward"] == 1) for row in rows}
    assert ends == {True}
    assert not any(any(row["coefficients"][:-1]) for row in rows)


def test_held_out_rows_that_hold_nothing_are_named(tmp_path: Path) -> None:
    bare = replace(PAIRS, held_out=ROWS)
    recipe = replace(RECIPE, stages=(stage("pairs", recipes.reward_model, bare, evaluate_every=1),))
    sink = Breaks(set())
    assert gw.run(recipe, tmp_path / "run", sinks=[sink]).scorers == {}
    said = [note for note in sink.notes if "evaluat" in note and "expected the columns chosen and rejected" in note]
    assert len(said) == 2  # quick evaluations give up after the first


def test_a_scorer_samples_only_from_a_policy(tmp_path: Path) -> None:
    """It begins with the scorer in a directory, which no check before the run can know."""
    first = gw.run(replace(RECIPE, stages=(stage("pairs", recipes.reward_model, PAIRS),)), tmp_path / "first", sinks=[])
    recipe = replace(RECIPE, model=str(first.model), stages=(stage("best", BEST, RULE),))
    with pytest.raises(UserError, match="holds a scorer"):
        gw.run(recipe, tmp_path / "run", sinks=[])
    policy = replace(RECIPE, model=str(first.model), stages=(stage("sft", recipes.sft, PAIRS),))
    with pytest.raises(UserError, match="expected a causal language model"):
        gw.run(policy, tmp_path / "policy", sinks=[])


def refused(*stages: gw.Stage) -> str:
    with pytest.raises(UserError) as error:
        validate(replace(RECIPE, stages=stages))
    return str(error.value)


def test_what_begins_with_a_scorer_or_samples_from_one_is_refused() -> None:
    begin, pairs = RECIPE.stages[:2]
    policy = stage("policy", recipes.grpo, RULE)
    assert refused(begin, pairs, policy) == (
        "stage policy: begins with the scorer that pairs left; expected first or a policy's stage: begin as start"
    )
    validate(replace(RECIPE, stages=(begin, pairs, replace(policy, start="begin"))))
    assert "would sample from the scorer that pairs left" in refused(begin, pairs, stage("best", BEST, RULE))
    named = replace(BEST, source=replace(BEST.source, models=("begin",)))
    validate(replace(RECIPE, stages=(begin, pairs, stage("best", named, RULE))))
    last = replace(BEST, source=replace(BEST.source, models=("last",)))
    assert "would sample from the scorer that pairs left" in refused(begin, pairs, stage("best", last, RULE))
    assert "a stage is named first" in refused(replace(begin, name="first"), replace(policy, start="first"))
    assert "start is nowhere; expected last, first or" in refused(replace(begin, start="nowhere"))


def test_a_reward_that_listens_to_no_earlier_scorer_is_refused() -> None:
    begin, pairs = RECIPE.stages[:2]

    def told(name: str) -> gw.Stage:
        return stage("policy", recipes.grpo, replace(RULE, rewards=(ModelReward(name),)), start="begin")

    validate(replace(RECIPE, stages=(begin, pairs, told("pairs"))))
    said = "stage policy: its reward 'model' is the model of stage {}; expected an earlier stage that trains a scorer"
    assert refused(begin, told("pairs"), pairs).startswith(said.format("pairs"))
    assert refused(begin, pairs, told("begin")).startswith(said.format("begin") + ": pairs")


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        (replace(recipes.grpo, objective=StepCrossEntropy(), kl=KL(0.0)), "OnPolicy samples from the policy that"),
        (replace(recipes.sft, objective=StepCrossEntropy()), "demonstrations have neither"),
        (replace(recipes.reward_model, objective=StepCrossEntropy()), "pairs have no labels"),
        (replace(OUTCOME, source=BEST.source), "select AllRollouts"),
        (replace(recipes.process_reward_model, objective=BradleyTerry()), "make no pair"),
        (replace(recipes.reward_model, advantage=Constant()), "no completion better"),
        (replace(recipes.reward_model, kl=KL(0.1)), "a scorer has no policy"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(algorithm: Any, said: str) -> None:
    assert said in refused(stage("score", algorithm, RULE))
