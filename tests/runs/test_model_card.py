"""A model says what it is, what it learned from and how good it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import groupwise as gw
from groupwise.algorithm import KL
from groupwise.runs.model_card import model_card
from groupwise.types import Example

TASK = gw.tasks.stepwise(level=1, held_out_size=3)


def test_every_model_of_a_run_has_its_card(tiny_model: Path, tmp_path: Path) -> None:
    sampled = replace(gw.recipes.grpo, source=gw.OnPolicy(2, max_completion_tokens=4), kl=KL(0.0))
    stages = (
        gw.Stage("first", gw.recipes.sft, TASK, steps=1, prompts_per_step=2),
        gw.Stage("second", sampled, TASK, steps=1, prompts_per_step=2, learning_rate=0.25),
    )
    held_out = gw.HeldOut(problems=3, sampled_problems=2, samples=2, max_completion_tokens=4)
    recipe = gw.Run("carded", str(tiny_model), stages, evaluation=held_out, seed=7)
    outcome = gw.run(recipe, tmp_path / "run", sinks=[])
    first, second = ((outcome.directory / "models" / name / "README.md").read_text() for name in ("first", "second"))
    assert "# carded: first" in first
    assert "`second`" not in first
    assert f"from `{tiny_model}`, seed 7" in second
    assert "1. `first`: 1 step of 2 prompts from `stepwise`" in second
    assert "2. `second`: 1 step of 2 prompts from `stepwise`, learning rate 0.25" in second
    assert "`answer` (weight 1)" in second
    assert "Training rows of the last stage: made on demand, is StepwiseArithmetic, level 1, seed 0" in second
    greedy = outcome.evaluations["second"].greedy
    assert f"| greedy accuracy | 3 | {greedy.value:.3f} | {greedy.low:.3f} to {greedy.high:.3f} |" in second
    assert "| maj@2 | 2 |" in second


def test_training_rows_are_said_in_words(tiny_model: Path, tmp_path: Path) -> None:
    rows = [Example(f"row:{number}", f"{number}+1=", completion=str(number + 1)) for number in range(40)]
    for kept, words in ((rows, "40 rows"), (rows[:1], "1 row")):
        stage = gw.Stage("only", gw.recipes.sft, gw.Task("sums", kept), steps=1, prompts_per_step=1)
        card = model_card(gw.Run("carded", str(tiny_model), (stage,)), stage, None)
        assert f"Training rows of the last stage: {words}" in card
        assert "row:0" not in card


def test_a_model_that_nobody_evaluated_says_so(tiny_model: Path, tmp_path: Path) -> None:
    stage = gw.Stage("only", gw.recipes.sft, TASK, steps=1, prompts_per_step=2)
    recipe = gw.Run("carded", str(tiny_model), (stage,), evaluation=gw.HeldOut(problems=0))
    outcome = gw.run(recipe, tmp_path / "run", sinks=[])
    assert "Not evaluated." in (outcome.model / "README.md").read_text()
