"""The commands that attempts on models, data, names and directories give, and where they give them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "MARK"


@dataclass(frozen=True)
class Place:
    """An attempt's own folder, a model that it may spoil, and beside it a home that must stay as it is."""

    path: Path
    whole_model: Path
    home: Path
    asked: bool = False
    """Whether the command is told to write into the home."""

    @property
    def mark(self) -> Path:
        """A file that nothing makes unless it runs what it was not asked to run."""
        return self.path / MARK

    def model(self) -> Path:
        """A copy."""
        return Path(shutil.copytree(self.whole_model, self.path / "model"))

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return path

    def data(self) -> Path:
        return self.write("train.jsonl", rows([{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(8)]))


Attempt = Callable[[Place], list[str]]
"""Lays out what it needs in the place and returns the arguments of ``groupwise``."""


def rows(given: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in given)


def changed(path: Path, change: Mapping[str, Any]) -> None:
    """A JSON file with other fields."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | dict(change)))


def chat(model: Path | str) -> list[str]:
    return ["chat", str(model), "--prompt", "2 + 2 = ?", "--max_completion_tokens", "4", "--device", "cpu"]


def evaluate(model: Path | str, task: Path | str = "stepwise") -> list[str]:
    few = ["--problems", "2", "--sampled_problems", "1", "--samples", "2", "--max_completion_tokens", "4"]
    return ["evaluate", str(model), "--task", str(task), *few, "--device", "cpu"]


def train(
    place: Place, data: Path | str | None = None, *more: str, model: Path | str = "", method: str = "grpo"
) -> list[str]:
    """A step of a method."""
    short = ["--algorithm.source.group_size", "2", "--algorithm.source.max_completion_tokens", "4"]
    return [
        *("run", method, "--model", str(model or place.whole_model), "--data", str(data or place.data())),
        *(
            "--reward",
            "answer",
            "--out",
            "run",
            "--steps",
            "1",
            "--prompts_per_step",
            "2",
            "--evaluation.problems",
            "0",
        ),
        *(short if method == "grpo" else []),
        *more,
    ]


RECIPE = """
import groupwise as gw
from groupwise.types import Example

ROWS = [Example(f"row:{{number}}", f"{{number}} + 1 =", answer=str(number + 1), completion="1") for number in range(4)]
task = gw.Task({task!r}, ROWS, {rewards})
stage = gw.Stage({stage!r}, {method}, task, steps=1, prompts_per_step=2)
model = {model}
plan = gw.HeldOut(problems=0)
run = gw.Run({run!r}, model, (stage,), learner=gw.Local(device="cpu", threads=1), evaluation=plan)
"""
NEW = "gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)"


def recipe(place: Place, **words: str) -> Path:
    """A recipe file of one stage of SFT, with any of its words replaced."""
    usual = {"task": "task", "stage": "sft", "run": "run", "model": NEW, "method": "gw.recipes.sft", "rewards": "()"}
    return place.write("recipe.py", RECIPE.format(**usual | words))
