"""docs/process-supervision.md: the page is what its numbers make, and its example is a recipe that passes."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

from groupwise.runs.recipe import validate

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_made_of_the_numbers() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import process
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    result = json.loads(process.RESULT.read_text(encoding="utf-8"))
    assert process.PAGE.read_text(encoding="utf-8") == process.page(result)
    wrong = [line for line in result["lines"] if line["score"] == 0]
    right = [line for line in result["lines"] if line["score"] == 1]
    assert wrong
    assert right
    assert len({line["grpo"] for line in result["lines"]}) == 1  # one advantage for all of a completion
    assert 0 < result["cosine"] < 1


def test_the_example_scores_steps() -> None:
    recipe = runpy.run_path(str(ROOT / "examples" / "process.py"))["run"]
    assert not [said for said in validate(recipe) if "step scores" in said]
    assert [stage.name for stage in recipe.stages] == ["sft", "process"]
