"""Counted nouns: one of each is not several."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from groupwise.output.counting import counted, signed

SOURCE = Path(__file__).resolve().parents[2] / "src" / "groupwise"


@pytest.mark.parametrize(
    ("count", "nouns", "words"),
    [
        (0, ("step",), "0 steps"),
        (1, ("step",), "1 step"),
        (2, ("step",), "2 steps"),
        (1234, ("row",), "1,234 rows"),
        (1, ("minibatch", "minibatches"), "1 minibatch"),
        (3, ("minibatch", "minibatches"), "3 minibatches"),
        (1, ("CPU thread",), "1 CPU thread"),
    ],
)
def test_a_number_with_its_noun(count: int, nouns: tuple[str, ...], words: str) -> None:
    assert counted(count, *nouns) == words


def test_there_is_one_such_helper() -> None:
    """Nobody spells the plural out beside it."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
        assert path.name == "counting.py" or not names & {"counted", "_counted", "plural"}, path
        assert not re.search(r"""["']s["'] \* \(| else ["']s["']|[\[(]["']s["'] if """, text), path


def test_what_a_run_says_counts_its_nouns() -> None:
    """The lines of the terminal and of an evaluation, where one step, thread, row or problem is usual."""
    said = "sinks/console.py runs/session.py runs/evaluations.py tasks/from_file.py commands/evaluate.py"
    for name in said.split():
        text = (SOURCE / name).read_text(encoding="utf-8")
        assert not re.search(r"\{[a-z_.()]+(?::,)?\} (?:CPU |held-out )?(?:steps|threads|rows|problems)\b", text), name


def test_a_difference_that_rounds_to_nothing_has_no_minus() -> None:
    assert [signed(each) for each in (-0.0004, -0.0, 0.0, 0.0004, -0.0006, 1.5)] == [
        *["+0.000"] * 4, "-0.001", "+1.500"
    ]  # fmt: skip
    assert signed(-0.00004, 4) == "+0.0000"
    assert signed(float("nan")) == "+nan"
