"""A script of another system, converted, and the run that its recipe makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from groupwise.commands.parser import parser
from groupwise.commands.recipe_file import read as read_recipe
from groupwise.foreign.convert import Conversion, convert
from groupwise.foreign.reading import read
from groupwise.runs.recipe import Run

ROWS = [{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(40)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """40 questions."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return path


@pytest.fixture
def made(tmp_path: Path, rows: Path) -> Callable[..., tuple[Run, Conversion]]:
    """``made(*words)``: the run of the recipe, with a model and rows put in where the script has none."""

    def make(*words: str, trainer: str = "", data: Path = rows, devices: int = 0) -> tuple[Run, Conversion]:
        script = read(words, trainer)
        if devices:
            script = type(script)(**{**vars(script), "devices": devices})
        found = convert(script, "recipe", "the script")
        path = tmp_path / f"recipe_{len(list(tmp_path.glob('recipe_*.py')))}.py"
        path.write_text(found.text)
        file = read_recipe(path, [], lambda: parser("run", "", ""))
        return file.make(["--model", "some/model", "--data", str(data)]), found

    return make
