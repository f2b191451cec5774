"""The guards hold, or are refused with a sentence, whoever runs Groupwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .callers import CALLERS, HOUSE, prefix

HERE = Path(__file__).parent
WITHOUT_LANDLOCK = [sys.executable, str(HERE / "without_landlock.py")]


def report(command: list[str], *words: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(HOUSE / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*command, sys.executable, str(HERE / "report.py"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


ALSO_SCORED = {"root": "math", "plain user": "gym"}
"""Programs are scored under all callers; formulas and puzzles, which go the same way, under one each."""


@pytest.mark.parametrize("caller", CALLERS)
def test_guards_hold(caller: str) -> None:
    also = ALSO_SCORED.get(caller, "")
    found = report(prefix(caller), "code", *filter(None, (also,)))
    if "refused" in found:
        assert len(found["refused"]) == 4
        return
    assert found["tried"][found["walls"]] == ""
    assert all(not why or why.startswith("it cannot work here") for why in found["tried"].values())
    assert set(found["worker"]) <= {"read installed packages"}
    assert not found["harmed"]
    assert found["code"] == [1.0, 0.5]
    assert found.get("math", []) == ([1.0, 0.0] if also == "math" else [])
    assert [value for value, _ in found.get("gym", [])] in ([], [1.0, 0.0, 0.0, 0.0, 0.0])
    assert also in ("", *found)


@pytest.mark.parametrize("caller", CALLERS)
def test_without_landlock_they_hold_by_namespaces_or_are_refused(caller: str) -> None:
    found = report([*prefix(caller), *WITHOUT_LANDLOCK])
    if caller != "plain user without namespaces":
        assert found["walls"].startswith("bubblewrap")
        assert set(found["worker"]) <= {"read installed packages"}
        return
    first, *others = found["refused"]
    assert "what a model wrote is not run without guards" in first
    assert len(others) == 3
    assert sum("unguarded=True does without guards" in line for line in others) == 2
