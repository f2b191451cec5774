"""docs/iterative.md: the page and its pictures are what the numbers make, and the numbers compare like with like."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "benchmarks" / "iterative.json"


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import iterative_page

    return iterative_page


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return json.loads(RESULT.read_text())


def test_the_page_and_its_pictures_are_made_of_the_numbers(writer: ModuleType, result: dict[str, Any]) -> None:
    docs = ROOT / "docs"
    assert (docs / "iterative.md").read_text() == writer.page(result)
    assert (docs / "iterative.svg").read_text() == writer.curves(result)
    assert (docs / "iterative-seeds.svg").read_text() == writer.intervals(result)


def test_every_method_has_a_line_with_its_name(writer: ModuleType, result: dict[str, Any]) -> None:
    texts = [element.text for element in ElementTree.fromstring(writer.curves(result)).iter() if element.text]
    assert set(writer.COLOURS) <= set(texts)


def test_labels_of_lines_that_end_together_do_not_touch(writer: ModuleType) -> None:
    assert writer._apart({"a": 50.0, "b": 48.0, "c": 90.0}) == {"b": 48.0, "a": 63.0, "c": 90.0}


def test_methods_sampled_about_as_many_tokens_and_were_evaluated_after_the_same_updates(result: dict[str, Any]) -> None:
    for row in result["seeds"]:
        tokens = [found["tokens"] for found in row["methods"].values()]
        assert max(tokens) < 1.02 * min(tokens)
        assert len({tuple(update for update, _, _ in found["curve"]) for found in row["methods"].values()}) == 1
        assert row["methods"]["GRPO+PS"]["pass@1"] == row["iterations"][1]["pass@1"]


def test_after_both_iterations_the_reward_model_knows_right_steps_of_new_questions(result: dict[str, Any]) -> None:
    assert [row["seed"] for row in result["seeds"]] == [0, 1, 2]
    last = [row["prm"][1] for row in result["seeds"]]
    assert all(found["held_out"]["value"] >= 0.9 and found["held_out_policy"]["value"] >= 0.9 for found in last)
