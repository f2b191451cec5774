"""What must be the same to the byte in two runs of one recipe, and how many files that is."""

from __future__ import annotations

import hashlib
from pathlib import Path

SAME = ("metrics.jsonl", "groups.json", "evaluation.json", "ledger", "models", "checkpoints", "gathered")
"""Not: run.json, times.jsonl, report.html and tensorboard, which tell the time."""


def kept(run: Path) -> dict[str, str]:
    """The hash of every file, by its place in the run."""
    files = [path for name in SAME for path in (run / name, *sorted((run / name).rglob("*"))) if path.is_file()]
    return {path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def different(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Places whose bytes are not the same, or that only one has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
