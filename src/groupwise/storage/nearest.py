"""This module guesses what a mistyped path may have meant: the nearest directory that holds a model."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

ALIKE = 0.6
"""Least likeness of two names, from 0 to 1."""


def nearest_model(text: str) -> str:
    """Writes ``; perhaps runs/quickstart/models/sft?`` for ``runs/quickstrat``; empty where nothing here is like it."""
    path = Path(text).expanduser()
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        close = found / part
        if not close.exists():
            names = [entry.name for entry in _directories(found)]
            near = get_close_matches(part, names, n=1, cutoff=ALIKE)
            if not near:
                return ""
            close = found / near[0]
        found = close
    model = _model_in(found)
    return f"; perhaps {model}?" if model else ""


def _model_in(directory: Path) -> Path | None:
    """The directory itself, or the newest model of the run that it is."""
    if (directory / "config.json").is_file():
        return directory
    models = [path for path in _directories(directory / "models") if (path / "config.json").is_file()]
    return max(models, key=lambda path: path.stat().st_mtime, default=None)


def _directories(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []
