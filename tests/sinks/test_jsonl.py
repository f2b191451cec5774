from __future__ import annotations

import json
import math
from pathlib import Path

from groupwise.sinks.jsonl import JsonLines, read_metrics


def written(path: Path) -> list[tuple[str, int]]:
    return [(row["stage"], row["step"]) for row in map(json.loads, path.read_text().splitlines())]


def ran(path: Path, *stages: tuple[str, int]) -> None:
    sink = JsonLines(path)
    for name, steps in stages:
        sink.stage(name, steps, 0)
        for step in range(1, steps + 1):
            sink.metrics(name, step, {"reward": step / 10})
    sink.close({})


def test_one_line_a_step_with_every_metric(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    sink = JsonLines(path)
    sink.stage("grpo", 1, 0)
    sink.metrics("grpo", 1, {"reward": 0.5, "kl": math.nan, "completions/max_length": 31})
    row = json.loads(path.read_text())
    assert (row["stage"], row["step"], row["reward"], row["kl"], row["completions/max_length"]) == (
        "grpo",
        1,
        0.5,
        None,
        31,
    )
    assert "time_seconds" not in row


def test_a_resumed_stage_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    ran(path, ("sft", 3), ("grpo", 4))
    again = JsonLines(path)
    again.stage("grpo", 4, 2)
    again.metrics("grpo", 3, {"reward": 9.0})
    assert written(path) == [("sft", 1), ("sft", 2), ("sft", 3), ("grpo", 1), ("grpo", 2), ("grpo", 3)]


def test_going_back_a_stage_forgets_all_that_followed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    ran(path, ("sft", 3), ("grpo", 4))
    JsonLines(path).stage("sft", 3, 2)
    assert written(path) == [("sft", 1), ("sft", 2)]


def test_what_a_clock_measured_stands_apart(tmp_path: Path) -> None:
    """So that metrics.jsonl is the same for every run of a recipe; whoever reads both has all numbers of a step."""
    sink = JsonLines(tmp_path / "metrics.jsonl")
    sink.stage("grpo", 2, 0)
    clock = {"seconds/train": 0.5, "step_time": 1.5, "tokens_per_second/sample": 3.0, "rewards/judge/cached": 0.25}
    for step in (1, 2):
        sink.metrics(
            "grpo", step, {"reward": step / 2, "rewards/judge/seconds": 2.0, "rewards/judge/mean": 1.0} | clock
        )
    kept = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kept == [{"stage": "grpo", "step": step, "reward": step / 2, "rewards/judge/mean": 1.0} for step in (1, 2)]
    first, second = read_metrics(tmp_path)
    assert first["reward"] == 0.5
    assert first["time_seconds"] <= second["time_seconds"]
    assert {name: second[name] for name in clock} == clock
    assert second["rewards/judge/seconds"] == 2.0
    again = JsonLines(tmp_path / "metrics.jsonl")
    again.stage("grpo", 2, 1)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1]
    assert (tmp_path / "times.jsonl").read_text().count("\n") == 1
