"""The pages on other systems' names are what the table and ``groupwise convert`` say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("from-trl.md", "from-verl.md", "from-openrlhf.md")


def test_the_pages_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "tools" / "docs" / "foreign_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", PAGES)
def test_a_page_begins_with_a_script_and_its_recipe(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)\n```", text, re.DOTALL)
    recipe = ast.parse(blocks[-1])
    assert {"task_of", "run"} <= {node.name for node in recipe.body if isinstance(node, ast.FunctionDef)}
    assert text.count("| ") > 100
