"""This module says in words what a run was made of: model, data, rewards, adapters, machine, versions, times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from groupwise.output.counting import counted

Json = Mapping[str, Any]
LONGEST_HEADER = 100_000_000
VERSIONS = ("groupwise", "torch", "transformers", "python")
UNITS = ((1e9, " billion"), (1e6, " million"), (1e3, " thousand"))


def facts(directory: Path, record: Json) -> list[tuple[str, str]]:
    """Returns names and words; what is not known is left out."""
    recipe = record.get("recipe") or {}
    stages = [stage for stage in recipe.get("stages") or () if isinstance(stage, Mapping)]
    tasks = [stage["task"] for stage in stages if isinstance(stage.get("task"), Mapping)]
    machine, versions = record.get("machine") or {}, record.get("versions") or {}
    cores = machine.get("cores")
    computer = [machine.get("gpu") or machine.get("cpu"), counted(cores, "core") if isinstance(cores, int) else ""]
    found = {
        "Model": _model(directory, record.get("model", recipe.get("model"))),
        "Data": " · ".join(dict.fromkeys(str(task["source"]) for task in tasks if task.get("source"))),
        "Rewards": " · ".join(dict.fromkeys(filter(None, map(_rewards, tasks)))),
        "Adapters": _adapters((recipe.get("learner") or {}).get("lora") or {}),
        "Machine": ", ".join(map(str, filter(None, computer))),
        "Versions": ", ".join(f"{name} {versions[name]}" for name in VERSIONS if name in versions),
        "Started": _when(record.get("started")),
    }
    return [(name, str(text)) for name, text in found.items() if text]


def _model(directory: Path, model: Any) -> str:
    """Returns a model's name where it has one, and how many parameters it has."""
    count = _parameters(directory)
    size = next((f"{count / unit:.3g}{name}" for unit, name in UNITS if count >= unit), str(count)) + " parameters"
    name = model if isinstance(model, str) else "new" if isinstance(model, Mapping) else ""
    return ", ".join(filter(None, [name, size if count else ""]))


def _parameters(directory: Path) -> int:
    """Counts the parameters of a model that the run left, by the headers of its files; 0 where there is none yet."""
    for folder in sorted(directory.glob("models/*")):
        found = sum(_shapes(str(path), path.stat().st_mtime_ns) for path in folder.glob("model*.safetensors"))
        if found:
            return found
    return 0


@lru_cache(maxsize=64)
def _shapes(path: str, _stamp: int) -> int:
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size < LONGEST_HEADER else {}
    except (OSError, ValueError):
        return 0
    return sum(prod(one["shape"]) for name, one in header.items() if name != "__metadata__")


def _rewards(task: Json) -> str:
    """Writes ``math, format × 0.2; correct: by math``."""
    rewards = [_inner(each) for each in task.get("rewards") or ()]
    said = ", ".join(name if weight == 1 else f"{name} × {weight:g}" for name, weight in rewards)
    judge = next(iter([*map(_inner, task.get("referee") or ()), *rewards]), ("", 1.0))[0]
    return f"{said}; correct: by {judge}" if said else ""


def _inner(reward: Json) -> tuple[str, float]:
    """Returns name and weight, also of a reward that is kept or weighted by another around it."""
    inside = reward.get("reward")
    name, weight = _inner(inside) if isinstance(inside, Mapping) else (str(reward.get("is", "")), 1.0)
    return str(reward.get("name", name)), float(reward.get("weight", weight))


def _adapters(lora: Json) -> str:
    """Describes the adapters; empty where all weights are trained."""
    if not lora.get("rank"):
        return ""
    whole = f", {', '.join(lora['modules_to_save'])} whole" if lora.get("modules_to_save") else ""
    return f"LoRA of rank {lora['rank']} and alpha {lora['alpha']:g} on {', '.join(lora['targets'])}{whole}"


def _when(started: Any) -> str:
    """Writes Unix time as a local date and time."""
    if not isinstance(started, int | float):
        return str(started or "")
    return datetime.fromtimestamp(started).astimezone().strftime("%d %B %Y, %H:%M %Z")
