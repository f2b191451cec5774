"""Right programs pass, wrong ones do not, and none can say that it is right or reach out of its sandbox."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.isolation.running import Ran
from groupwise.isolation.sandbox import Sandbox
from groupwise.rewards import Code, by_name
from groupwise.rewards.programs import Talk, program, row_tests
from groupwise.rewards.scoring import prepare
from groupwise.types import Rollout, Score

Make = Callable[..., Rollout]
DOUBLES = [{"input": "21\n", "output": "42\n"}, {"input": "0", "output": "0"}]
ASSERTS = ["assert f(2) == 4", "assert f([1]) == [1, 1]", "assert f((1,)) == (1, 1)"]


def works() -> str:
    try:
        Sandbox().check()
    except UserError as error:
        return str(error)
    return ""


needs_sandbox = pytest.mark.skipif(bool(works()), reason=works())


def fenced(source: str) -> str:
    return f"Here it is:\n```python\n{source}\n```\nDone."


def scored(reward: Code, rollout: Make, *sources: str, **columns: Any) -> list[float | None]:
    return [score.value for score in reward.score([rollout(fenced(source), **columns) for source in sources])]


@needs_sandbox
def test_input_and_output_are_compared_line_by_line(rollout: Make) -> None:
    right, half, spaces = "print(2 * int(input()))", "input(); print(42)", "print(2 * int(input()), ' ')\nprint()"
    assert scored(Code(), rollout, right, half, spaces, tests=DOUBLES) == [1.0, 0.5, 1.0]
    assert scored(Code(all_or_nothing=True), rollout, right, half, tests=DOUBLES) == [1.0, 0.0]
    long = [{"input": "x" * 300_000, "output": "300000"}]
    assert scored(Code(), rollout, "print(len(input()))", tests=long) == [1.0]


@needs_sandbox
def test_asserts_see_the_values_that_functions_return(rollout: Make) -> None:
    methods = "class Solution:\n    def f(self, x):\n        return x * 2"
    values = scored(Code(), rollout, "def f(x):\n    print('noise')\n    return x * 2", methods, "f = 3", tests=ASSERTS)
    assert values == [1.0, 1.0, 0.0]
    assert scored(Code(), rollout, "def f(x): return x + 2", tests=ASSERTS) == [1 / 3]


@needs_sandbox
def test_whole_tests_of_other_data_run_as_they_are(rollout: Make) -> None:
    humaneval = {
        "test": "def check(candidate):\n    for n in range(9): assert candidate(n) == n * n\n",
        "entry_point": "sq",
    }
    assert scored(Code(), rollout, "def sq(n): return n ** 2", "def sq(n): return 4", **humaneval) == [1.0, 0.0]
    mbpp = {
        "test_list": ["assert math.isclose(half(3), 1.5)", "assert WANTED == half(2)"],
        "test_imports": ["import math"],
        "test_setup_code": "WANTED = 1",
    }
    assert scored(Code(), rollout, "def half(n): return n / 2", **mbpp) == [1.0]
    raises = ["try:\n    f('x')\nexcept ValueError:\n    pass\nelse:\n    assert False"]
    assert scored(Code(), rollout, "def f(x): return int(x)", "def f(x): return 0", tests=raises) == [1.0, 0.0]


@needs_sandbox
@pytest.mark.parametrize(
    "source",
    [
        "exit(0)",
        "import os; os._exit(0)",
        "print('passed')\nraise SystemExit(0)",
        "import contextlib, os\ndef f(x):\n    for n in range(9):\n        with contextlib.suppress(OSError):\n"
        "            os.write(n, b'passed')\n    os._exit(0)",
        "class Yes(int):\n    def __eq__(self, other): return True\ndef f(x): return Yes()",
        "import builtins\nbuiltins.AssertionError = SystemExit\ndef f(x): exit(0)",
        "import gc\ndef f(x): return [one for one in gc.get_objects() if 'expected' in str(one)][0]",
        "import json\njson.dumps = lambda *_: '[\"passed\"]'\ndef f(x): return 0",
        "def f(x): raise AssertionError",
    ],
)
def test_no_program_can_say_that_it_is_right(source: str, rollout: Make) -> None:
    assert scored(Code(time_limit_seconds=2.0), rollout, source, tests=ASSERTS[:1]) == [0.0]
    assert scored(Code(time_limit_seconds=2.0), rollout, source, tests=DOUBLES[:1]) == [0.0]


@needs_sandbox
def test_a_hanging_program_is_tried_twice_and_a_missing_one_is_told_apart(rollout: Make) -> None:
    started = time.monotonic()
    reward = Code(time_limit_seconds=0.8)
    assert scored(reward, rollout, "while True: pass", tests=DOUBLES * 30) == [0.0]
    assert time.monotonic() - started < 50.0
    none = reward.score([rollout("", tests=DOUBLES), rollout("x = 1\n" * 20_000, tests=DOUBLES)])
    assert none == [Score(0.0, "unparseable")] * 2


@needs_sandbox
def test_nothing_is_left_of_a_sandbox(rollout: Make) -> None:
    def sandboxes() -> set[str]:
        return {pid for pid in os.listdir("/proc") if pid.isdigit() and "bwrap" in _command(pid)}

    reward, before = Code(time_limit_seconds=0.3), sandboxes()
    scored(reward, rollout, "while True: pass", "exit(0)", tests=ASSERTS[:1])
    deadline = time.monotonic() + 300.0
    while sandboxes() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sandboxes() <= before


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


@needs_sandbox
def test_it_is_tried_out_before_a_run_and_named_on_the_command_line() -> None:
    assert by_name("code") == Code()
    prepare([Code()])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"tests": DOUBLES}, [Talk("21\n", "42\n"), Talk("0", "0")]),
        ({"tests": json.dumps(DOUBLES[:1])}, [Talk("21\n", "42\n")]),
        ({"input_output": json.dumps({"inputs": ["1\n"], "outputs": [["2", "3"]]})}, [Talk("1\n", "2\n3")]),
        ({"test_list": ["assert 1"], "test_imports": ["import math"]}, ["import math\nassert 1"]),
        ({"test": "def check(c): pass", "entry_point": "f"}, ["def check(c): pass\ncheck(f)"]),
    ],
)
def test_tests_are_read_as_data_keep_them(columns: dict[str, Any], expected: list[Any], rollout: Make) -> None:
    assert row_tests(rollout(**columns).prompt.example, "") == expected


@pytest.mark.parametrize(
    "tests", [None, [], "", 3, [1], [{"input": "x"}], {"inputs": ["1"], "outputs": []}, "[" * 9000]
)
def test_tests_that_cannot_be_read_are_named_with_their_row(tests: Any, rollout: Make) -> None:
    row = rollout(tests=tests, id="train.jsonl:7")
    if isinstance(tests, str) and tests:
        assert row_tests(row.prompt.example, "") == [tests]
        return
    with pytest.raises(
        UserError, match=r"train\.jsonl:7: reward 'code' finds no tests in column 'tests'; expected a list"
    ):
        row_tests(row.prompt.example, "")


def test_the_column_can_be_named_and_a_test_can_be_too_long(rollout: Make) -> None:
    row = rollout(tests=["assert 1"], mine=["assert 2"], id="row:3").prompt.example
    assert row_tests(row, "") == ["assert 1"]
    assert row_tests(row, "mine") == ["assert 2"]
    with pytest.raises(UserError, match="row:3: a test in column 'tests' is longer than 60000 bytes"):
        row_tests(rollout(tests=["x" * 60_001], id="row:3").prompt.example, "")


@needs_sandbox
def test_tests_of_a_named_column_are_those_that_count(rollout: Make) -> None:
    columns = {"tests": ["assert False"], "mine": ["assert f(1) == 2"]}
    assert scored(Code(column="mine"), rollout, "def f(x): return x + 1", **columns) == [1.0]


def test_the_last_block_is_the_program() -> None:
    assert program("```python\na\n```\ntext\n```py\nb\n```\nend").strip() == "b"
    assert program("just code") == "just code"
    assert program("```python\ncut off").strip() == "cut off"
    assert program("```\na\n```\nand\n```\ncut").strip() == "a"
    assert Ran(b"passed") == Ran(b"passed", "")
