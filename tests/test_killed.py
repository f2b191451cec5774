"""A run killed without warning, as a real process, continues to the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

RECIPE = """
import groupwise as gw
from dataclasses import replace
from groupwise.algorithm import KL

task = gw.tasks.stepwise(level=1, held_out_size=4)
sampled = replace(gw.recipes.grpo, source=gw.OnPolicy(group_size=2, max_completion_tokens=8), kl=KL(0.01))
run = gw.Run(
    name="killed",
    model=gw.NewModel(hidden_size=32, layers=2, heads=2, intermediate_size=64, context_tokens=64),
    stages=(
        gw.Stage("sft", gw.recipes.sft, task, steps=6, prompts_per_step=2, learning_rate=1e-3, checkpoint_every=2),
        gw.Stage("grpo", sampled, task, steps=40, prompts_per_step=2, learning_rate=1e-3, checkpoint_every=3),
    ),
    learner=gw.Local(threads=1),
    evaluation=gw.HeldOut(problems=4, sampled_problems=2, samples=2, max_completion_tokens=8),
)
"""


def start(recipe: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "groupwise.cli", "run", str(recipe), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def steps(out: Path, stage: str) -> int:
    metrics = out / "metrics.jsonl"
    return metrics.read_text().count(f'"stage": "{stage}"') if metrics.exists() else 0


def test_sigkill_in_the_middle_of_a_stage(tmp_path: Path) -> None:
    recipe, whole, killed = tmp_path / "recipe.py", tmp_path / "whole", tmp_path / "killed"
    recipe.write_text(RECIPE)
    assert start(recipe, whole).wait(timeout=120) == 0
    process = start(recipe, killed)
    deadline = time.monotonic() + 120
    while steps(killed, "grpo") < 7:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "models" / "grpo").exists()
    again = start(recipe, killed)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert "continued after step" in said
    name = Path("models") / "grpo" / "model.safetensors"
    assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert steps(killed, "sft") == steps(whole, "sft") == 6
    assert steps(killed, "grpo") == steps(whole, "grpo") == 40
    last = start(recipe, killed)
    assert "is finished" in last.communicate(timeout=120)[0]
