"""The whole path learns: judged by held-out accuracy, not by a loss."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import groupwise as gw
from groupwise.algorithm import KL
from groupwise.rewards import FinalAnswer
from groupwise.tasks.task import Task
from groupwise.types import Example

TEACHERS_RIGHT = 0.7


def last_digit(number: int) -> Example:
    """``731`` -> ``#### 1``, as shown by a teacher who is right seven times in ten and otherwise guesses."""
    answer, teacher = str(number % 10), random.Random(number)
    shown = answer if teacher.random() < TEACHERS_RIGHT else str(teacher.randint(0, 9))
    return Example(f"number:{number}", f"{number:03}", completion=f"#### {shown}", answer=answer)


def test_reinforcement_ends_better_than_its_teachers(tmp_path: Path) -> None:
    """SFT becomes as good as its demonstrations and no better; sampling and rewarding makes the right answer reliable,
    also for numbers that were never seen."""
    rows = [last_digit(number) for number in random.Random(0).sample(range(1000), 1000)]
    task = Task("last digit", rows[:800], (FinalAnswer(),), held_out=rows[800:])
    sft = gw.Stage("sft", gw.recipes.sft, task, 300, 32, learning_rate=3e-3, warmup_steps=10, schedule="cosine")
    sampled = replace(gw.recipes.grpo, source=gw.OnPolicy(group_size=8, max_completion_tokens=8), kl=KL(0.001))
    grpo = gw.Stage("grpo", sampled, task, 40, 16, learning_rate=2e-3, warmup_steps=3)
    run = gw.Run(
        name="learning",
        model=gw.NewModel(hidden_size=64, layers=2, heads=4, intermediate_size=128, context_tokens=32),
        stages=(sft, grpo),
        learner=gw.Local(device="cpu", threads=1),
        evaluation=gw.HeldOut(problems=200, sampled_problems=0, samples=1, max_completion_tokens=8),
    )
    evaluations = gw.run(run, tmp_path / "run", sinks=[]).evaluations
    before, after = evaluations["sft"].pass_at_1, evaluations["grpo"].pass_at_1
    assert before.value < 0.75
    assert after.value > before.value + 0.15
    assert after.low > before.high
