"""A real torchrun starts the processes of a run, and starts them again where one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from subprocess import STDOUT

import pytest
import torch
import warm
from safetensors.torch import load_file

from groupwise import Local, Run
from groupwise.commands.recipe_file import read
from groupwise.runs.session import run

RECIPE = '''
"""A stage with an objective and a reward of its own file."""
from dataclasses import dataclass, replace
from groupwise import Local, NewModel, OnPolicy, Run, Stage, recipes
from groupwise.algorithm import ClippedRatio
from groupwise.rewards import as_reward
from groupwise.tasks.task import Task
from groupwise.types import Example


@dataclass(frozen=True)
class Ours(ClippedRatio):
    def surrogate(self, *given):
        return super().surrogate(*given)


def letters(completions, **columns):
    return [float(sum(map(ord, text)) % 7) for text in completions]


grpo = replace(recipes.grpo, objective=Ours(), source=OnPolicy(group_size=4, max_completion_tokens=6))
rows = tuple(Example(f"row:{n}", f"{n}+1=", f"{n + 1}") for n in range(6))
task = Task("rows", rows, rewards=(as_reward(letters),))
model = NewModel(hidden_size=32, layers=2, heads=2, intermediate_size=64, context_tokens=64)
plan = {"steps": STEPS, "prompts_per_step": 3, "learning_rate": 1e-2, "minibatches": 2, "checkpoint_every": 2}
run = Run("ranks", model, (Stage("learn", grpo, task, **plan),), Local(device="cpu", threads=1, dtype="float64"))
'''
STEPS = 14


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.py"
    path.write_text(RECIPE.replace("STEPS", str(STEPS)))
    return path


def torchrun(recipe: Path, *options: str) -> warm.Process:
    """Ranks are processes that have loaded torch already: PYTHON_EXEC is what torchrun starts them with."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["--max_restarts", "1", "--monitor_interval", "0.2", "-m", "groupwise", "run", str(recipe), *options]
    path = os.pathsep.join(path for path in sys.path if path)
    given = {"PYTHONPATH": path, "PYTHON_EXEC": warm.executable(recipe.parent), "OMP_NUM_THREADS": "1"}
    return warm.Process(command, cwd=recipe.parent, env=os.environ | given, stderr=STDOUT)


def ranks_below(pid: int) -> dict[int, int]:
    """Process ids by rank."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(word.removeprefix(b"RANK=")): int(child) for word in words if word.startswith(b"RANK=")}
    return found


def test_a_killed_rank_is_started_again_and_the_run_ends_as_if_it_had_not_been(recipe: Path, tmp_path: Path) -> None:
    """Rank 1 is killed after some checkpoint; both begin again and go on from there. One process finds the same."""
    process = torchrun(recipe, "--out", str(tmp_path / "two"))
    metrics, deadline = tmp_path / "two" / "metrics.jsonl", time.monotonic() + 600
    while not metrics.exists() or metrics.read_text().count("\n") < 4:
        assert process.poll() is None, process.communicate(timeout=60)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(ranks_below(process.pid)[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "was ended by SIGKILL" in said or "rank 1" in said
    made = read(recipe, [], lambda: None).defined  # type: ignore[arg-type, return-value]
    assert isinstance(made, Run)
    assert made.learner == Local(device="cpu", threads=1, dtype="float64")
    alone = run(made, tmp_path / "one", sinks=[])
    numbers = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["step"] for line in numbers] == list(range(1, STEPS + 1))
    one, two = (load_file(place / "model.safetensors") for place in (alone.model, tmp_path / "two/models/learn"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-6, atol=1e-8)
