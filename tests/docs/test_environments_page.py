"""The code of the pages on environments, turns and the door runs, and their tasks can be played."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from groupwise.tasks.task import Task

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    pytest.param(page, code, id=f"{page}-{number}")
    for page in ("environments.md", "turns.md", "serve.md")
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL))
    if "import groupwise" in code
]


@pytest.mark.parametrize(("page", "code"), BLOCKS)
def test_a_block_runs(page: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("gymnasium", "textarena"):
        if f"import {package}" in code:
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(code, page, "exec"), names)
    tasks = [value for value in names.values() if isinstance(value, Task)]
    assert all(task.episodes is not None for task in tasks)
    assert tasks or "MCP" in code or "AgentPrograms" in code
