"""The quickstart, shortened, learns: judged by held-out accuracy, not by a loss."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import groupwise as gw

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart.py"


def test_the_quickstart_in_a_shortened_form_ends_better_than_its_demonstrations(tmp_path: Path) -> None:
    """Sums up to 9 in place of 20, a smaller model and fewer steps. SFT becomes as good as its demonstrations and no
    better; sampling and rewarding makes the right answer reliable, on questions that neither stage has seen."""
    recipe = runpy.run_path(str(QUICKSTART))["run"]
    small = gw.tasks.Difficulty(operands=(3, 3), largest=9)
    task = gw.tasks.stepwise(level=small, slips=0.25, held_out_size=80)
    sft, grpo = recipe.stages
    stages = (
        replace(sft, task=task, steps=250, learning_rate=5e-3, evaluate_every=0),
        replace(grpo, task=task, steps=14, prompts_per_step=16, learning_rate=1.5e-3, evaluate_every=0),
    )
    model = replace(recipe.model, hidden_size=64, layers=1, intermediate_size=256)
    held_out = gw.HeldOut(problems=80, sampled_problems=80, samples=4, max_completion_tokens=48)
    learner = replace(recipe.learner, threads=1)
    run = replace(recipe, model=model, stages=stages, learner=learner, evaluation=held_out)
    evaluations = gw.run(run, tmp_path / "run", sinks=[]).evaluations
    before, after = evaluations["sft"].pass_at_1, evaluations["grpo"].pass_at_1
    assert before.value < 0.75
    assert after.value > before.value + 0.2
    assert after.low > before.high
