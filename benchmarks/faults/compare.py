"""What must be the same to the byte in two runs of one recipe, and how many files that is."""

from __future__ import annotations

import hashlib
from pathlib import Path

FILES = ("metrics.jsonl", "alarms.jsonl", "groups.json", "evaluation.json")
FOLDERS = ("ledger", "models", "checkpoints", "gathered", "bad_batches")
"""Not: run.json, times.jsonl, report.html and tensorboard, which tell the time."""


def kept(run: Path) -> dict[str, str]:
    """The hash of every file, by its place in the run."""
    files = [run / name for name in FILES]
    files += [path for name in FOLDERS for path in sorted((run / name).rglob("*"))]
    there = {path.relative_to(run).as_posix(): path for path in files if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()}


def different(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Places whose bytes are not the same, or that only one has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
