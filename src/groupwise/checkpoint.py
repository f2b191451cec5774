"""Directories that are either complete or not there: a Hugging Face model, with the run's state beside it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATE = "groupwise_state.pt"
PROGRESS = "groupwise_progress.json"
RECORD = "groupwise_run.json"
"""The resolved recipe, machine and versions, beside every model that a run writes."""


@contextmanager
def complete_directory(final: Path) -> Iterator[Path]:
    """A fresh directory to write into that takes the name ``final`` only when everything in it is on the disk."""
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.parent / f".partial-{final.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    yield partial
    for path in (*partial.rglob("*"), partial):
        _sync(path)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    _sync(final.parent)


def write_atomically(path: Path, text: str) -> None:
    """A file that holds either what it held or all of ``text``."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # as JSON writes half a surrogate pair
    _sync(partial)
    os.replace(partial, path)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def save_state(directory: Path, state: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
    """Optimizer and run state beside a model."""
    import torch

    torch.save(dict(state), directory / STATE)
    (directory / PROGRESS).write_text(json.dumps(progress, indent=1) + "\n")


def load_state(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``save_state`` wrote. Tensors only: nothing in the file is run."""
    import torch

    state = torch.load(directory / STATE, map_location="cpu", weights_only=True)
    return state, json.loads((directory / PROGRESS).read_text())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
