from __future__ import annotations

from collections.abc import Callable

import pytest

from groupwise.errors import UserError
from groupwise.isolation.sandbox import Sandbox
from groupwise.rewards import Code, ProgramAnswer, by_name
from groupwise.types import Rollout, Score

Make = Callable[..., Rollout]


def works() -> str:
    try:
        Sandbox().check()
    except UserError as error:
        return str(error)
    return ""


needs_sandbox = pytest.mark.skipif(bool(works()), reason=works())


def fenced(source: str) -> str:
    return f"```python\n{source}\n```"


@needs_sandbox
def test_what_a_program_returns_or_prints_is_its_answer(rollout: Make) -> None:
    sources = [
        "def solution():\n    apples = 2 + 3\n    return apples",
        "print('work')\nprint(5)",
        "def solution():\n    return 5.0004",
        "def solution():\n    return 6",
        "def solution():\n    return None",
        "1 / 0",
        "print(5)\nraise SystemExit(1)",
        "",
    ]
    scores = by_name("pal").score([rollout(fenced(source), answer="#### 5") for source in sources])
    assert [score.value for score in scores] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert [score.status for score in scores[4:]] == ["scored", *["unparseable"] * 3]
    exact = ProgramAnswer().score([rollout(fenced(sources[2]), answer="5"), rollout(fenced(sources[0]), answer="x")])
    assert (exact[0], exact[1].status) == (Score(0.0), "failed")


@needs_sandbox
def test_programs_vote_by_what_they_compute(rollout: Make) -> None:
    sources = ["print(5)", "def solution(): return 2 + 3", "print(6)", "print(12 / 2)", "1 / 0"]
    votes = ProgramAnswer().votes([rollout(fenced(source), answer="6") for source in sources])
    assert votes[0] == votes[1] != votes[2]
    assert votes[2] == votes[3] == 0
    assert votes[4] is None


@needs_sandbox
def test_programs_with_tests_vote_by_what_they_do(rollout: Make) -> None:
    """Six of eight pass with different texts: they are one answer."""
    doubles = [{"input": "21\n", "output": "42\n"}, {"input": "0", "output": "0"}]
    right = ["print(2 * int(input()))", "n = int(input())\nprint(n + n)", "print(int(input()) << 1)"]
    wrong = ["print(int(input()) ** 2)", "x = int(input())\nprint(x * x)", "print(7)", ""]
    votes = Code().votes([rollout(fenced(source), tests=doubles) for source in right + wrong])
    assert len({*votes[:3]}) == 1
    assert votes[3] == votes[4] != votes[5]
    assert votes[5] not in (votes[0], None)
    assert votes[6] is None
    asserts = ["assert f(2) == 4", "assert f(3) == 6"]
    bodies = ["x * 2", "x + x", "x + 2", "2 + x", "x", "7"]
    votes = Code(all_or_nothing=True).votes([rollout(f"def f(x): return {body}", tests=asserts) for body in bodies])
    assert votes[0] == votes[1] != votes[2]
    assert votes[2] == votes[3]
    assert len({*votes}) == 4, "what passes nothing stands alone"
