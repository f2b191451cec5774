"""Which names of a row's tests are the answer's."""

from __future__ import annotations

from typing import Any

import pytest

from groupwise.rewards.program_names import Names, names_of
from groupwise.types import Example

HUMANEVAL = {
    "prompt": "import math\n\ndef poly(xs, x):\n    return sum(xs)\n\ndef find_zero(xs):\n    ...",
    "entry_point": "find_zero",
}


@pytest.mark.parametrize(
    ("tests", "columns", "expected"),
    [
        (["assert f(2) == 4"], {}, Names(("f",))),
        (["assert add(1, 2) == 3", "assert sub(2, 1) == 1"], {}, Names(("add", "sub"))),
        (["assert decode(encode('a')) == 'a'"], {}, Names(("decode", "encode"))),
        (["assert is_close(f(1), 2)"], {}, Names(("f",), ("is_close",))),
        (["assert not differs(f(1), want=g(2))"], {}, Names(("f", "g"), ("differs",))),
        (["assert is_prime(7)", "assert not is_prime(sum([2, 2]))"], {}, Names(("is_prime",))),
        (["assert helper(f(1)) == 2"], {"code": "def f(x): return x"}, Names(("f",), ("helper",))),
        (["assert helper(f(1)) == 2"], {"entry_point": "f"}, Names(("f",), ("helper",))),
        (["assert helper(f(1)) == 2"], {"entry_point": "f", "prompt": "def helper(x): ..."}, Names(("f", "helper"))),
        (
            ["def check(c):\n    assert poly([1], c([1])) < 1\ncheck(find_zero)"],
            HUMANEVAL,
            Names(("find_zero", "poly")),
        ),
        (["def check(f):\n    assert f(1) == 2\ncheck(f)"], {"entry_point": "f"}, Names(("f",))),
        (["assert sum(10, 15) == 6"], {"code": "def sum(a, b):\n    sum = 0"}, Names(("sum",))),
        (["assert sum(f(2)) == 6"], {"code": "def f(x):\n    def sum(a): ..."}, Names(("f",))),
        (["assert f(1) == sys.maxsize"], {"code": "import sys\ndef f(x): ..."}, Names(("f",), (), ("import sys",))),
        (["import math\nassert math.isclose(f(1), 2)"], {}, Names(("f",))),
        (["from helpers import *\nassert close(f(1), 2)"], {"code": "def f(x): ..."}, Names(("f",))),
        (["candidate = Solution().f\nassert candidate(1) == 2"], {}, Names(("Solution",))),
        (["x = 1\nassert [x for x in range(3)] == f(x)"], {}, Names(("f",))),
        (["assert f("], {}, Names()),
        ([], {}, Names()),
    ],
)
def test_names(tests: list[str], columns: dict[str, Any], expected: Names) -> None:
    assert names_of(Example("row:1", "Write it.", columns={"tests": tests, **columns}), tests, "tests") == expected
