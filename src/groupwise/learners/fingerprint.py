"""This module says in a few letters what code and what weights a process has, so that several can be compared."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from pathlib import Path

import torch

from groupwise.learners.source import fetched

BLOCK, BLOCKS = 2**16, 64
"""Of each file of weights so many blocks of so many bytes are read, from its beginning to its end."""


@cache
def code_fingerprint() -> dict[str, str]:
    """Returns, by what it is, a few letters for each thing that must be alike in all processes."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return {"groupwise": digest.hexdigest()[:12], "torch": torch.__version__, "python": platform.python_version()}


def model_fingerprint(directory: Path | str) -> dict[str, str]:
    """Returns a few letters for each file of a model directory that numbers depend on; nothing for a hub name whose
    files are elsewhere."""
    name, _ = fetched(directory)
    place = Path(name)
    files = [*place.glob("*.json"), *place.glob("*.safetensors")] if place.is_dir() else []
    return {path.name: _sample(path) for path in sorted(files)}


def _sample(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(BLOCKS):
            file.seek(min(number * BLOCK, size) if size <= BLOCK * BLOCKS else (size - BLOCK) * number // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()[:12]


def different(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """Returns the names of what is not the same, in order."""
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
