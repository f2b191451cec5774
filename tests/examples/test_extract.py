"""``examples/extract.py``: rows, rewards, and a short run of it with a small model."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from groupwise.cli import main

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "extract.py"
RIGHT = '{"name": "Ann Lee", "city": "Oslo", "year": 1999}'


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


@pytest.mark.parametrize(
    ("said", "right", "worth"),
    [
        (RIGHT, 1.0, 1.0),
        ('\n{"year":1999,"city":"Oslo","name":"Ann Lee"} ', 1.0, 1.0),
        (f"Here it is: {RIGHT}", 0.0, 0.7),
        (f"```json\n{RIGHT}\n```", 0.0, 0.7),
        ('{"name": "Ann Lee", "city": "Oslo", "year": "1999"}', 0.0, 0.6),
        ('{"name": "Ann Lee", "city": "Oslo", "year": 1999.0}', 0.0, 0.6),
        ('{"name": "Ann", "city": "Rome", "year": 1}', 0.0, 0.4),
        ('{"name": "Ann Lee", "city": "Oslo", "year": 1999, "more": 1}', 0.0, 0.5),
        ('{"name": "Ann Lee"}', 0.0, 0.3),
        ("{}", 0.0, 0.2),
        ("Ann Lee, Oslo, 1999", 0.0, 0.0),
        (f"[{RIGHT}]", 0.0, 0.7),
        ("{", 0.0, 0.0),
        ('{"name": tru}', 0.0, 0.0),
        ("1999", 0.0, 0.0),
        ("", 0.0, 0.0),
        ("[" * 5_000, 0.0, 0.0),
    ],
)
def test_rewards(example: dict[str, Any], said: str, right: float, worth: float) -> None:
    assert example["exact"](said, RIGHT) == right
    assert example["graded"](said, RIGHT) == pytest.approx(worth)


def test_nothing_that_is_held_out_is_learned(example: dict[str, Any]) -> None:
    """No part of a name; in one set no kind of sentence either. The seed alone decides."""
    task = example["task"]()
    sets = {"new names": [row for row in task.held_out if row.held_out_set == "new names"]}
    sets["both"] = [row for row in task.held_out if row.held_out_set == "new names and sentences"]
    assert [len(rows) for rows in (task.train, *sets.values())] == [2_000, 200, 200]

    def parts(rows: Any) -> set[str]:
        return {part for row in rows for part in json.loads(row.answer)["name"].split()}

    def kinds(rows: Any) -> set[str]:
        found = set()
        for row in rows:
            text = row.prompt.splitlines()[-1]
            for key, value in json.loads(row.answer).items():
                text = text.replace(str(value), f"<{key}>")
            found.add(text)
        return found

    assert not parts(task.train) & (parts(sets["new names"]) | parts(sets["both"]))
    assert kinds(sets["new names"]) <= kinds(task.train)
    assert not kinds(sets["both"]) & kinds(task.train)
    assert all(re.search("<name>.*<city>|<city>.*<name>", kind) for kind in kinds(sets["both"]))
    assert [row.prompt for row in example["task"]().train] == [row.prompt for row in task.train]
    assert len({row.id for row in (*task.train, *task.held_out)}) == 2_400


def test_it_runs(roomy_model: Path, tmp_path: Path) -> None:
    short = ["--steps", "1", "--prompts_per_step", "1", "--evaluation.problems", "2", "--learner.threads", "1"]
    assert main(["run", str(EXAMPLE), "--model", str(roomy_model), *short, "--out", str(tmp_path / "run")]) == 0
    saved = json.loads((tmp_path / "run" / "evaluation.json").read_text())["models"]
    assert [one["stage"] for one in saved] == ["before grpo", "grpo"]
    assert set(saved[0]["evaluation"]["sets"]) == {"new names", "new names and sentences"}
