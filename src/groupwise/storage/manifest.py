"""A manifest holds the size and SHA-256 of every file in a directory: how damage is told, and named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

MANIFEST = "manifest.json"
UNLISTED = frozenset((MANIFEST, "README.md"))
"""A model's card is written again when the model has been evaluated."""


def write_manifest(directory: Path) -> None:
    """Writes the manifest of all files below ``directory`` but the card."""
    files = {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in UNLISTED
    }
    (directory / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n", encoding="utf-8")


def listed_files(directory: Path) -> frozenset[str] | None:
    """Returns the names of all files that were written into ``directory``, with ``/``; None where its manifest says
    nothing."""
    try:
        files = json.loads((directory / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return UNLISTED | frozenset(files) if isinstance(files, dict) else None


def damage(directory: Path) -> str:
    """Says what is wrong with the files of ``directory``, the first of it; empty: they are as they were written."""
    try:
        files = json.loads((directory / MANIFEST).read_bytes())["files"]
        sizes = {str(name): int(about["bytes"]) for name, about in files.items()}
        hashes = {str(name): str(about["sha256"]) for name, about in files.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return f"{MANIFEST} cannot be read"
    found = (_damage_of(directory / name, name, size, hashes[name]) for name, size in sizes.items())
    return next(filter(None, found), "")


def _damage_of(path: Path, name: str, size: int, sha256: str) -> str:
    if not path.is_file():
        return f"{name} is missing"
    found = path.stat().st_size
    if found != size:
        return f"{name} has {found:,} bytes where {size:,} were written"
    return "" if _sha256(path) == sha256 else f"{name} has other bytes than were written (sha256)"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
