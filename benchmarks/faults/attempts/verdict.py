"""A program, the tests of its row, and the tests that most programs here meet."""

from __future__ import annotations

from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """A program, the columns of its row, and whether it is right."""

    program: str
    columns: dict[str, Any]
    right: bool = False


WRONG = "def f(x): return None\n"
RIGHT = "def f(x): return x * 2\n"
ASSERT = {"tests": ["assert f(2) == 4"]}
OUTPUT = {"tests": [{"input": "2\n", "output": "4\n"}]}
RAISES = {"tests": ["try:\n    f(-1)\n    raise AssertionError\nexcept ValueError:\n    pass"]}
CHECK = {
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 6\n",
    "entry_point": "f",
}


def asserts(*tests: str) -> dict[str, Any]:
    """The columns of a row with these asserts."""
    return {"tests": list(tests)}


MAPPED = asserts("cases = [(1, 2), (2, 4)]\nassert all(map(lambda c: f(c[0]) == c[1], cases))")
ZIPPED = asserts("for got, want in zip(map(f, [1, 2]), [2, 4]): assert got == want")
