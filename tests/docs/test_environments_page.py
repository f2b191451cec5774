"""The code of docs/environments.md runs, and its tasks can be played."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from groupwise.tasks.task import Task

PAGE = Path(__file__).parents[2] / "docs/environments.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("gymnasium", "textarena"):
        if f"import {package}" in BLOCKS[number]:
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(BLOCKS[number], f"environments.md, block {number}", "exec"), names)
    tasks = [value for value in names.values() if isinstance(value, Task)]
    assert all(task.episodes is not None for task in tasks)
    assert tasks or "MCP" in BLOCKS[number]
