from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.rewards.math import Math
from groupwise.types import Rollout, Score

CASES = Path(__file__).resolve().parents[2] / "../shared/data/math-verify/cases.jsonl"
Make = Callable[..., Rollout]
MARK = Path("/tmp/groupwise-math-mark")


def test_equal_mathematics_is_right_however_it_is_written(rollout: Make) -> None:
    pairs = [
        ("4", "#### 4.0"),
        (r"\frac{1}{2}", r"so \boxed{0.5}"),
        ("2x + 1", r"The answer is $1 + 2x$."),
        (r"\sqrt{8}", r"\boxed{2\sqrt{2}}"),
        ("(1, 3]", r"\boxed{(1, 3]}"),
        ("work work\n#### 1,000", "#### 1000"),
        (r"work \boxed{x^2}", r"\boxed{x \cdot x}"),
        ("50%", r"\boxed{\frac{1}{2}}"),
    ]
    scores = Math().score([rollout(text, answer=gold) for gold, text in pairs])
    assert [score.value for score in scores] == [1.0] * len(pairs)


def test_different_mathematics_is_wrong_and_none_is_unparseable(rollout: Make) -> None:
    pairs = [("4", "#### 5"), ("2x + 1", r"\boxed{1}"), ("5", r"\boxed{x + 5}"), (r"\sqrt{8}", r"\boxed{\sqrt{7}}")]
    scores = Math().score([rollout(text, answer=gold) for gold, text in pairs])
    assert scores == [Score(0.0)] * len(pairs)
    assert (
        Math().score([rollout(text, answer=r"\sqrt{8}") for text in ("", " \n", "no idea at all")])
        == [Score(0.0, "unparseable")] * 3
    )


def test_a_completion_that_was_cut_off_has_only_the_answer_that_it_marked(rollout: Make) -> None:
    """However right the last number is that it had computed by then."""
    cut = [replace(rollout(text), finished=False) for text in ("so 2 + 2 = 4", "#### 4", "4", r"\boxed{4} so")]
    unread = Score(0.0, "unparseable")
    assert Math().score(cut) == [unread, Score(1.0), unread, Score(1.0)]
    assert Math(unmarked=False).score([rollout("so 2 + 2 = 4"), rollout("#### 4")]) == [unread, Score(1.0)]
    assert Math().score([rollout("so 2 + 2 = 4")]) == [Score(1.0)]


@pytest.mark.skipif(not CASES.is_file(), reason="math-verify's cases are not beside this checkout")
def test_math_verifys_own_cases_are_agreed_with_but_for_one(rollout: Make) -> None:
    """Of its 134, one gives 0 to a box-less ``9`` in LaTeX where math-verify's own ``verify`` gives 1."""
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    scores = Math().score([rollout(case["pred"], answer=case["gold"]) for case in cases])
    pairs = zip(cases, scores, strict=True)
    disagreed = {(case["test"], case["line"]) for case, score in pairs if score.value != case["expected"]}
    assert len(cases) == 134
    assert disagreed == {("test_latex_notation", 133)}


@pytest.mark.parametrize("gold", ["7", r"\frac{x}{2}"])
def test_hostile_answers_are_wrong_at_once_and_harm_nothing(gold: str, rollout: Make) -> None:
    MARK.unlink(missing_ok=True)
    hostile = [
        "10**10**10",
        r"\boxed{10^{10^{10}}}",
        "(10^9)!",
        "#### 9999999!",
        "(" * 3000 + "1" + ")" * 3000,
        r"\boxed{" * 3000 + "1" + "}" * 3000,
        "1e999999999",
        f"__import__('os').system('touch {MARK}')",
        f"\\boxed{{__import__('os').system('touch {MARK}')}}",
        "a\x00b",
        "\ud800",
        "9" * 2_000_000,
        "\u202e#### \u202d",
    ]
    Math().score([rollout(r"\boxed{y}", answer=gold)])  # workers start
    started = time.monotonic()
    scores = Math(time_limit_seconds=60.0).score([rollout(text, answer=gold) for text in hostile])
    assert time.monotonic() - started < 50.0  # none is worked out: that would take for ever
    assert {score.value for score in scores} == {0.0}
    assert not MARK.exists()


def test_an_answer_that_takes_too_long_is_no_wrong_answer(rollout: Make) -> None:
    slow = r"\boxed{" + "+".join(rf"\int_0^x \sin(t^{n}) e^{{t^{n}}} dt" for n in range(2, 9)) + "}"
    started = time.monotonic()
    first, second = Math(time_limit_seconds=0.4).score([rollout(slow, answer=r"\frac{\sqrt{\pi}}{x}"), rollout()])
    assert time.monotonic() - started < 50.0
    assert first == Score(None, "timeout")
    assert second == Score(1.0)


def test_a_row_without_mathematics_to_compare_with_is_named(rollout: Make) -> None:
    with pytest.raises(UserError, match=r"row:1: reward 'math' needs an answer"):
        Math().score([rollout(answer=None)])
    rows = [rollout(r"\boxed{x}", answer="the smaller one"), rollout(r"\boxed{x}", answer="x")]
    first, second = Math().score(rows)
    assert (first.value, first.status, second.value) == (None, "failed", 1.0)
    assert first.reason == "'the smaller one' is neither a number, a choice, a list nor mathematics"


def test_references_are_read_before_a_run(rollout: Make) -> None:
    golds = ["5", r"\frac{x}{2}", "the smaller one", '["1", "2"]', '{"value": "5"}', r"\sqrt{}{", "", r"\text{even}"]
    reasons = Math().unreadable([rollout(answer=gold).prompt.example for gold in golds])
    assert [bool(reason) for reason in reasons] == [False, False, True, True, True, True, True, False]
    assert reasons[3].startswith("it lists 2 answers; say by several='any' that each is right")
    assert reasons[4] == "it is an object with value; name the field that holds the answer"
    assert "cannot be read as mathematics" in reasons[5]


def test_plain_numbers_need_no_worker(rollout: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pool(function: str, warm_up: str, unguarded: bool) -> object:
        class Unused:
            def run(self, items: Sequence[object], seconds: float) -> list[object]:
                assert not items
                return []

        return Unused()

    monkeypatch.setattr("groupwise.rewards.math.shared_pool", no_pool)
    scores = Math().score([rollout("#### 4"), rollout("#### 5"), rollout(r"\boxed{1,000}", answer="1000")])
    assert [score.value for score in scores] == [1.0, 0.0, 1.0]


def test_nothing_of_it_is_imported_here() -> None:
    import subprocess
    import sys

    program = (
        "import sys, groupwise.rewards, groupwise.tasks.reasoning_gym\n"
        "print([name for name in ('torch', 'numpy', 'sympy', 'math_verify', 'reasoning_gym') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"
