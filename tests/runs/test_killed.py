"""Runs that are killed and stopped, as real processes, continue to the same bytes. ``make faults`` does more."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import warm

FAULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "faults"
RECIPE = f"import sys\nsys.path.insert(0, {str(FAULTS)!r})\nfrom recipes import KINDS\nrun = KINDS['grpo']()\n"


def test_runs_of_several_kinds_killed_in_several_phases(tmp_path: Path) -> None:
    """Four kills at least; every byte of metrics, ledger, models and checkpoints as in runs that nobody disturbed."""
    results = tmp_path / "faults.json"
    done = warm.run([str(FAULTS), "--only", "kills", "--kills", "4", "--results", str(results)])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(results.read_text())
    assert found["lost"] == 0
    assert found["faults"]["kills"]["kills"] >= 4
    assert found["faults"]["kills"]["files_compared"] > 40


def test_a_run_on_an_environment_that_answers_when_it_likes_is_killed(tmp_path: Path) -> None:
    results = tmp_path / "faults.json"
    done = warm.run([str(FAULTS), "--only", "turns", "--kills", "6", "--results", str(results)])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(results.read_text())
    assert found["lost"] == 0
    assert found["faults"]["turns"]["kills"] >= 2


def start(place: Path, *options: str) -> warm.Process:
    return warm.Process(["-m", "groupwise.cli", "run", "recipe.py", "--out", "run", *options], cwd=place)


def test_a_command_that_is_asked_to_stop_says_how_to_continue(tmp_path: Path) -> None:
    """Without --fresh, which it was started with: that would throw away what it saved."""
    (tmp_path / "recipe.py").write_text(RECIPE)
    process = start(tmp_path, "--fresh", "--steps", "100000", "--evaluate_every", "100000")
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 1200
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=1200)
    assert process.returncode == 128 + signal.SIGTERM, said
    last = said.splitlines()[-1]
    assert last.startswith("groupwise run: stopped after step ")
    assert last.endswith(
        "of grpo, saved; to continue: groupwise run recipe.py --out run --steps 100000 --evaluate_every 100000"
    )
    step = int(last.split()[5])
    checkpoint = tmp_path / "run" / "checkpoints" / f"grpo-{step:06d}"
    assert json.loads((checkpoint / "groupwise_progress.json").read_text())["step"] == step
    assert metrics.read_text().count("\n") == step
    assert (tmp_path / "run" / "checkpoints" / "latest").resolve() == checkpoint
