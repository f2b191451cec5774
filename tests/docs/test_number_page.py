"""docs/numbers.md is what the files of benchmarks say, names each of them, and its commands are there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(ROOT / "tools" / "docs"))
    try:
        import number_page
    finally:
        sys.path.pop(0)
    return number_page


def test_the_page_is_of_the_files(tool) -> None:
    page = tool.page()
    assert tool.PAGE.read_text() == page, "run python tools/docs/number_page.py"
    for path in (ROOT / "benchmarks").glob("*.json"):
        assert f"(../benchmarks/{path.name})" in page


def test_the_commands_are_there(tool) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in set(re.findall(r"`((?:python|make) [^`]+)`", tool.page())):
        program, what, *_ = command.split()
        there = (ROOT / what).exists() if program == "python" else f"\n{what}:" in makefile
        assert there, command


def test_the_faster_thread_count_is_taken(tool) -> None:
    steps = [{"threads": 1, "seconds": 3.0}, {"threads": 2, "seconds": 2.0}, {"threads": 2, "seconds": 1.0}]
    assert tool._median({"sides": {"ours": {"steps": steps}}}, "ours") == 1.5
