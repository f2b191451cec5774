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
from groupwise.isolation.program_process import ProgramOutput
from groupwise.isolation.sandbox import Sandbox
from groupwise.rewards import Code, by_name
from groupwise.rewards.programs import InputOutputTest, program, row_tests
from groupwise.rewards.scoring import prepare
from groupwise.types import Rollout, Score

Make = Callable[..., Rollout]
DOUBLES = [{"input": "21\n", "output": "42\n"}, {"input": "0", "output": "0"}]
RAISES = "try:\n    f(-1)\n    raise AssertionError\nexcept ValueError:\n    pass"
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
@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("def f(x): raise StopIteration", "assert all(map(lambda c: f(c[0]) == c[1], [(1, 2)]))"),
        ("def f(x): raise StopIteration", "for got, want in zip(map(f, [1, 2]), [2, 4]): assert got == want"),
        ("def f(x): raise StopIteration", "assert list(map(f, [1, 2])) in ([], [2, 4])"),
        ("def f(x): raise StopIteration", "assert next(map(f, [1]), 2) == 2"),
        ("def f(x): raise StopIteration", "assert not any(f(x) != 2 * x for x in [1, 2])"),
        ("class Stop(StopIteration): pass\ndef f(x): raise Stop", "assert all(map(f, [1]))"),
        ("def f(x): raise StopAsyncIteration", "assert all(map(f, [1]))"),
        ("import os\ndef f(x): os._exit(0)", RAISES),
        ("def f(x): raise KeyboardInterrupt", RAISES),
        ("def f(x): raise GeneratorExit", RAISES),
        ("import sys\ndef f(x): sys.exit(0)", RAISES),
        ("import os\ndef f(x): os.closerange(0, 64)", RAISES),
        ("def f(x):\n    import gc\n    while True: x = [x] * 10 ** 6", RAISES.replace("ValueError", "OSError")),
        (
            "import os\ndef f(x):\n    for n in range(3, 9):\n"
            '        try: os.write(n, b\'["value", {"set": [[1]]}]\\n\')\n        except OSError: pass',
            RAISES.replace("ValueError", "TypeError"),
        ),
        (
            "import os\ndef f(x):\n    for n in range(3, 9):\n        try: os.write(n, b'no json\\n')\n"
            "        except OSError: pass",
            RAISES,
        ),
    ],
)
def test_no_way_of_failing_passes_for_another(source: str, test: str, rollout: Make) -> None:
    assert scored(Code(time_limit_seconds=5.0), rollout, source, tests=[test]) == [0.0]


@needs_sandbox
@pytest.mark.parametrize(
    "source",
    [
        "def f(x): raise ValueError",
        "def f(x): return int('x')",
        "def f(x): return b'\\xff'.decode()",
        "class Bad(ValueError): pass\ndef f(x): raise Bad(1, 2)",
    ],
)
def test_the_right_way_of_failing_passes(source: str, rollout: Make) -> None:
    assert scored(Code(time_limit_seconds=60.0), rollout, source, tests=[RAISES]) == [1.0]


@needs_sandbox
@pytest.mark.parametrize(
    "test",
    [
        "print('checking')\nassert f(1) == 2",
        "import sys\nsys.stdout.write('x' * 3_000_000)\nassert f(1) == 2",
        "import os\nos.write(1, b'passed')\nassert f(1) == 2\nprint('done')",
        "import sys\nprint('to nobody', file=sys.stderr)\nassert f(1) == 2",
        "def check(g):\n    print(g(1))\n    assert g(1) == 2\ncheck(f)",
        "import sys\nsys.stdout.close()\nassert f(1) == 2",
    ],
)
def test_a_test_may_print(test: str, rollout: Make) -> None:
    reward = Code(time_limit_seconds=60.0)
    assert scored(reward, rollout, "def f(x): return 2 * x", "def f(x): return 3", tests=[test]) == [1.0, 0.0]


@needs_sandbox
def test_a_judge_that_nobody_defines_is_not_the_answers(rollout: Make) -> None:
    forger = "def f(x): return 0\ndef is_close(a, b): return True"
    tests = ["assert is_close(f(1), 2)"]
    (score,) = Code().score([rollout(fenced(forger), tests=tests)])
    assert (score.value, score.status) == (None, "failed")
    assert "its tests use is_close, which neither they nor the row's prompt or reference define" in (score.reason or "")
    reference = "import math\ndef f(x): return 2 * x"
    (score,) = Code().score([rollout(fenced(forger), tests=tests, reference=reference)])
    assert score.status == "failed"
    own = "def is_close(a, b): return abs(a - b) < 1e-6"
    assert scored(Code(), rollout, forger, "def f(x): return 2 * x", tests=tests, test_setup_code=own) == [0.0, 1.0]
    assert scored(Code(), rollout, forger, tests=["assert is_close(1, 2)"], entry_point="is_close") == [1.0]


@needs_sandbox
def test_containers_types_and_objects_of_an_answer_can_be_tested(rollout: Make) -> None:
    source = (
        "import collections, enum\n"
        "class Node:\n    def __init__(self, data):\n        self.data, self.left = data, None\n"
        "    def doubled(self): return 2 * self.data\n"
        "class Level(enum.IntEnum):\n    HIGH = 3\n"
        "def height(node): return 0 if node is None else 1 + height(node.left)\n"
        "def count(xs): return collections.Counter(xs)\n"
        "def level(): return Level.HIGH\n"
        "def keep(xs, kind): return [x for x in xs if isinstance(x, kind)]\n"
    )
    tests = [
        "root = Node(1)\nroot.left = Node(2)\nroot.left.left = Node(3)\nassert height(root) == 3",
        "node = Node(4)\nassert (node.data, node.doubled(), node.left) == (4, 8, None)",
        "try:\n    Node(1).nothing\n    raise ValueError\nexcept AttributeError:\n    pass",
        "assert count('aab') == {'a': 2, 'b': 1}",
        "assert level() == 3",
        "assert keep([1, 'a', 2.5], str) == ['a']",
    ]
    assert scored(Code(time_limit_seconds=60.0), rollout, source, tests=tests) == [1.0]
    forger = (
        "class Yes:\n    def __eq__(self, other): return True\n    def __len__(self): return 0\ndef f(x): return Yes()"
    )
    wrong = ["assert f(2) == 4", "assert 4 == f(2)", "assert not f(2)", "assert f(2) == f(2)", "assert f(2) in [4]"]
    assert scored(Code(time_limit_seconds=60.0), rollout, forger, tests=wrong) == [0.0]


@needs_sandbox
def test_what_is_iterated_over_called_or_of_the_library_can_be_tested_and_judges_nothing(rollout: Make) -> None:
    source = (
        "import datetime, decimal, fractions\n"
        "class Pair:\n    def __iter__(self): return iter([1, 2])\n    def __len__(self): return 2\n"
        "    def __getitem__(self, place): return [1, 2][place]\n"
        "def count(n):\n    yield from range(n)\n"
        "def adder(x): return lambda y: x + y\n"
        "def values(n): return [range(n), fractions.Fraction(n, 3), decimal.Decimal(n) / 4, datetime.date(2020, 1, n),"
        " datetime.timedelta(n), bytearray(n), 10 ** 6000]\n"
    )
    tests = [
        "assert list(count(3)) == [0, 1, 2] and next(count(3)) == 0 and not callable(count(3))",
        "assert adder(2)(3) == 5 and callable(adder(2)) and not hasattr(adder(2), '__len__')",
        "assert len(Pair()) == 2 and Pair()[1] == 2 and sorted(Pair()) == [1, 2] and 2 in Pair() and 3 not in Pair()",
        "import datetime, decimal, fractions\n"
        "assert values(2) == [range(2), fractions.Fraction(2, 3), decimal.Decimal('0.5'), datetime.date(2020, 1, 2),"
        " datetime.timedelta(2), bytearray(2), 10 ** 6000]",
    ]
    assert scored(Code(time_limit_seconds=60.0), rollout, source, tests=tests) == [1.0]
    forger = (
        "class Yes(int):\n    def __eq__(self, other): return True\n"
        "class Any:\n    def __contains__(self, other): return True\n    def __bool__(self): return False\n"
        "    def __iter__(self): return iter([Yes(5)])\n    def __getitem__(self, place): return Yes(5)\n"
        "    def __call__(self, *_): return Yes(5)\n    def __enter__(self): return self\n"
        "    def __exit__(self, *_): return True\n    def __add__(self, other): return 4\n"
        "def f(x): return Any()\ndef g(x): return iter(())"
    )
    wrong = [
        *("assert 4 in f(2)", "assert not f(2)", "assert f(2)[0] == 4", "assert f(2)(1) == 4", "assert f(2) + 0 == 4"),
        "with f(2): assert False",
        "assert all(map(lambda n: next(g(n)) == 2 * n, [1, 2]))",
    ]
    assert scored(Code(time_limit_seconds=60.0), rollout, forger, tests=wrong) == [0.0]


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
        return {pid for pid in os.listdir("/proc") if pid.isdigit() and "bwrap" in _command(pid) and _is_ours(int(pid))}

    reward, before = Code(time_limit_seconds=0.3), sandboxes()
    scored(reward, rollout, "while True: pass", "exit(0)", tests=ASSERTS[:1])
    deadline = time.monotonic() + 300.0
    while sandboxes() - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sandboxes() <= before


def _is_ours(pid: int) -> bool:
    """Whether it descends from this process: others may have sandboxes, too."""
    while pid > 1 and pid != os.getpid():
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == os.getpid()


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
        ({"tests": DOUBLES}, [InputOutputTest("21\n", "42\n"), InputOutputTest("0", "0")]),
        ({"tests": json.dumps(DOUBLES[:1])}, [InputOutputTest("21\n", "42\n")]),
        ({"input_output": json.dumps({"inputs": ["1\n"], "outputs": [["2", "3"]]})}, [InputOutputTest("1\n", "2\n3")]),
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
    assert ProgramOutput(b"passed") == ProgramOutput(b"passed", "")
