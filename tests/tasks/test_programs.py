"""Programs of an answer are run, and the model is told what they printed."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from groupwise.environments.protocol import Reply
from groupwise.isolation.sandbox import Sandbox
from groupwise.tasks.programs import ProgramTurns, program_of, run


def block(source: str) -> str:
    return f"Let me compute.\n```python\n{source}\n```"


def played(*replies: str) -> tuple[list[Any], Any]:
    """What the environment says to each turn, and what it returns."""
    episode = ProgramTurns()({}, Random(0))
    said = [next(episode)]
    try:
        for reply in replies:
            said.append(episode.send(Reply(reply)))
    except StopIteration as stop:
        return said, stop.value
    return said, None


def test_a_program_is_answered_with_its_output_and_words_end_the_episode() -> None:
    said, result = played(block("print(3 * 4)"), "So \\boxed{12}.")
    assert said == [None, "\n```output\n12\n```\n"]
    assert result == {"tools/calls": 1, "tools/failed": 0}


def test_an_output_block_that_the_model_opens_is_filled() -> None:
    said, _ = played(block("print(3 * 4)") + "\n```output", "done")
    assert said == [None, "\n12\n```\n"]


def test_the_last_program_counts_and_errors_are_told() -> None:
    said, result = played(block("print(5)"), block("print(1 / 0)"), block("print('nothing')"), "5")
    assert said[2].startswith("\n```output\nError: exit status")
    assert result == {"tools/calls": 3, "tools/failed": 1}


def test_an_answer_without_a_program_ends_at_once() -> None:
    assert played("It is 5.") == ([None], {"tools/calls": 0, "tools/failed": 0})


@pytest.mark.parametrize(
    ("reply", "source"),
    [
        ("```python\nprint(1)\n```", "print(1)"),
        ("```py\nprint(1)\n```\n\n", "print(1)"),
        ("```python\nprint(1)\n```\n```output", "print(1)"),
        ("```python\na\n```\nand\n```python\nb\n```", "b"),
        ("```python\n```", ""),
        ("```Python\nprint(1)\n```", "print(1)"),
        ("``` python3\nprint(1)\n```", "print(1)"),
        ("```python title=one\nprint(1)\n```", "print(1)"),
        ("~~~python\nprint(1)\n~~~", "print(1)"),
        ("```python\r\nprint(1)\r\nprint(2)\r\n```\r\n", "print(1)\nprint(2)"),
        ("1. So:\n   ```python\n   for n in [1]:\n       print(n)\n   ```", "for n in [1]:\n    print(n)"),
        ("````python\nprint(1)\n# ```\n```\nprint(2)\n````", "print(1)\n# ```\n```\nprint(2)"),
        ("```python\na\n```\n```output\n3\n```\n```python\nb\n```\n```output", "b"),
        ("```python\na\n```\n```output\n3\n```", None),
        ("```python\na\n```\n```json\n{}\n```", None),
        ("```javascript\nprint(1)\n```", None),
        ("```pyramid\nprint(1)\n```", None),
        ("~~~python\nprint(1)\n```", None),
        ("```python print(1)```", None),
        ("```python\nprint(1)\n```\nSo it is 1.", None),
        ("```python\nprint(1)", None),
        ("```\nprint(1)\n```", None),
        ("```json\n{}\n```", None),
        ("```output\n3\n```", None),
        ("", None),
    ],
)
def test_what_is_run_is_the_program_that_a_turn_ends_with(reply: str, source: str | None) -> None:
    assert program_of(reply) == source


def test_a_program_that_says_too_much_or_is_too_long_is_an_error() -> None:
    assert run(Sandbox(5.0, output_bytes=100), "print('a' * 1000)") == (False, "Error: it printed too much")
    assert run(Sandbox(5.0), "#" * 70_000)[1].startswith("Error: the program is longer than")


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("while True: pass", "Error: it took too long"),
        ("while True: print('flood')", "Error: it printed too much"),
        ("x = 5", ""),
        ("print()", ""),
        ("print('```\\nThe answer is 7.')", "```\nThe answer is 7."),
        ("input()", "Error: exit status 1"),
        ("import sys; sys.exit(3)", "Error: exit status 3"),
        ("print('\\udcff')", "\ufffd"),
        ("def solution():\nreturn 5", "Error: exit status 1"),
    ],
)
def test_hostile_and_poor_programs_are_answered_in_words(source: str, printed: str) -> None:
    ended_well, said = run(Sandbox(0.5 if "pass" in source else 60.0, output_bytes=1000), source)
    assert said.startswith(printed)
    assert ended_well == (not printed.startswith("Error"))
    assert bool(said) == bool(printed)
