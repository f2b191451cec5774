"""--ray: what each placed process is told, what is refused, and a run on a cluster of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import NewModel, Run, Stage, VLLMServers, recipes
from groupwise.commands.on_ray import (
    _starters,
    jobs_of_ranks,
    processes_of,
    refuse_servers,
    run_on_ray,
    words_for_ranks,
)
from groupwise.errors import UserError
from groupwise.learners import FSDP
from groupwise.tasks.task import Task
from groupwise.types import Example

PLAIN = Run("mine", "model", (Stage("grpo", recipes.grpo, Task("rows", (Example("1", "1"),)), 5),))


@pytest.mark.parametrize(
    "given",
    [
        "--ray auto grpo --processes 4 --model M --steps 3",
        "grpo --ray=auto --model M --processes=4 --steps 3 --ray_servers 2",
        "grpo --model M --steps 3 --ray_python=/x/python --ray ray://head:10001",
    ],
)
def test_processes_are_not_told_where_they_are_placed(given: str) -> None:
    assert words_for_ranks(given.split()) == ["grpo", "--model", "M", "--steps", "3"]


def test_each_rank_is_told_what_torchrun_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUPWISE_VLLM_KEY", "word")
    monkeypatch.setenv("SECRET_OF_OTHERS", "word")
    first, second = jobs_of_ranks(["grpo"], 2, ("10.0.0.1", 2951))
    assert (first.variables["RANK"], second.variables["RANK"]) == ("0", "1")
    for job in (first, second):
        seen = {name: job.variables[name] for name in ("WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
        assert seen == {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "2951"}
        assert job.words == ("run", "grpo")
        assert job.variables["GROUPWISE_VLLM_KEY"] == "word"
        assert "SECRET_OF_OTHERS" not in job.variables
    assert (first.prefix, second.prefix) == ("", "process 1: ")
    [alone] = jobs_of_ranks(["grpo"], 1, ("10.0.0.1", 2951))
    assert "RANK" not in alone.variables


def test_as_many_processes_as_asked_for_or_as_the_learner_has() -> None:
    assert processes_of(PLAIN, Namespace(processes=None)) == 1
    assert processes_of(PLAIN, Namespace(processes=3)) == 3
    assert processes_of(replace(PLAIN, learner=FSDP(processes=4)), Namespace(processes=None)) == 4


@pytest.mark.parametrize(
    ("recipe", "servers", "words"),
    [
        (PLAIN, 1, r"the recipe's engine is Native; expected engine=VLLMServers"),
        (replace(PLAIN, engine=VLLMServers(), model=NewModel()), 1, "expected a directory or a hub name"),
        (PLAIN, -1, "--ray_servers is -1; expected 0 or more"),
    ],
)
def test_servers_that_nobody_asks_are_refused(recipe: Run, servers: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        refuse_servers(recipe, Namespace(ray_servers=servers))
    refuse_servers(replace(PLAIN, engine=VLLMServers()), Namespace(ray_servers=2))


def test_a_cluster_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen\nbecause")  # as Ray raises it

    monkeypatch.setattr(ray, "init", init)
    chosen = Namespace(processes=None, ray="local", ray_servers=0)
    with pytest.raises(
        UserError, match=r"^--ray local: no cluster answers there: The current node timed out .* happen$"
    ):
        run_on_ray(PLAIN, chosen, [])


def test_what_a_cluster_of_this_machine_never_has_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that may grow is waited for."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(UserError, match=r"no room for 3 processes and servers of 1 CPU each; .* has 2 CPU, 0 GPU"):
        _starters([{"CPU": 1, "GPU": 0}] * 3, grows=False)


def on_cluster(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """A run of this command on a cluster of its own, on this machine."""
    rows = [{"prompt": f"{number}+1=", "completion": str(number + 1)} for number in range(8)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["run", "sft", "--data", "rows.jsonl", "--steps", "2", "--out", "out", "--ray", "local", *more]
    own = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "groupwise.cli", *words]
    for _ in range(5):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200, env=os.environ | own)
        if "timed out during startup" not in done.stderr:  # Ray's own bound of half a minute, on a busy machine
            break
    return done


def test_a_run_on_a_cluster_of_this_machine(tmp_path: Path, tiny_model: Path) -> None:
    """Two processes, placed by the cluster, train together."""
    pytest.importorskip("ray")
    seen = on_cluster(tmp_path, "--model", str(tiny_model), "--processes", "2")
    assert seen.returncode == 0, seen.stdout + seen.stderr
    rows: list[Any] = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert "process 1: " not in seen.stdout, "nothing went wrong there"
