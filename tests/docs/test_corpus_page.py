"""docs/corpus.md: what it says of disguises and seeds is what the files of benchmarks hold."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import corpus_page

    return corpus_page


def test_the_page_is_of_the_files(writer: ModuleType) -> None:
    text = writer.PAGE.read_text()
    assert "<!-- disguises -->" in text
    assert writer.page(text) == text, "run python benchmarks/corpus_page.py"


def test_a_way_behind_which_something_is_lost_has_a_row(writer: ModuleType) -> None:
    ways = {"a": {"x": [2, 2], "y": [0, 0]}, "b": {"x": [1, 2], "y": [3, 3]}, "c": {"x": [0, 2], "y": [0, 0]}}
    found = writer.disguises({"ways": 3, "questions": 3, "found": ways, "innocent": {"drills": [0, 5]}})
    rows = [line for line in found.split("\n") if line.startswith("|")][2:]
    assert rows == ["| a (1 ways) | all | all |", "| b | 1 of 2 | 3 of 3 |", "| c | 0 of 2 | – |"]
    assert "0 of 5 drills" in found
