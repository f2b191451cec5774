"""This module records what a result depends on beside its recipe: packages, revisions of the code, the data, the
machine."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.output.masking import masked
from groupwise.runs.revision import revision
from groupwise.values.version import __version__

if TYPE_CHECKING:
    from groupwise.training.stage import Stage

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pyarrow")
ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GROUPWISE_KERNELS")
"""Variables on which rounding depends."""


def versions() -> dict[str, str]:
    """Returns the versions of Python, of Groupwise and of the packages that compute."""
    return {
        "python": platform.python_version(),
        "groupwise": __version__,
        **{name: _version(name) for name in PACKAGES},
    }


@functools.cache
def _version(package: str) -> str:
    """Returns the version of a package as it was at the first look, since what is loaded stays."""
    return version(package)


def conditions(stages: Sequence[Stage]) -> dict[str, Any]:
    """Returns what run.json records of them, and what a continued run compares."""
    from groupwise.learners.device import machine

    environment = {name: os.environ.get(name, "") for name in ENVIRONMENT}
    about = {"machine": machine(), "environment": environment, "versions": versions(), "revisions": revisions()}
    return about | {"data": data_hashes(stages)}


def revisions() -> dict[str, str]:
    """Returns git's revisions of the checkout that Groupwise runs from and of the working directory; empty where there
    is none."""
    return {"groupwise": _own_revision(), "working directory": revision(Path.cwd())}


@functools.cache
def _own_revision() -> str:
    """Returns the revision of the checkout that Groupwise runs from, as it was at the first look: what was loaded of it
    stays as it is, whatever is changed there later."""
    return revision(Path(__file__).parents[1], tracked=True)


def command_record(words: Sequence[str]) -> dict[str, Any]:
    """Returns what run.json keeps of the command that a run was begun or continued by, its secrets masked; nothing of
    a run that no command began."""
    if not words:
        return {}
    return {"command": {"words": [masked(word) for word in words], "directory": str(Path.cwd())}}


def recipe_hash(described: Any) -> str:
    """Returns a hash of ``describe``'s plain data."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def data_hashes(stages: Sequence[Stage]) -> dict[str, str]:
    """Returns a hash of every row of each task's data, by stage. Rows that are made on demand have none: the recipe
    makes them."""
    known: dict[int, str] = {}
    found = {}
    for stage in stages:
        for kind, rows in (("train", stage.task.train), ("held out", stage.task.held_out)):
            if isinstance(rows, list | tuple) and rows:
                if id(rows) not in known:
                    known[id(rows)] = _rows_hash(rows)
                found[f"{stage.name} {kind}"] = known[id(rows)]
    return found


def _rows_hash(rows: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
