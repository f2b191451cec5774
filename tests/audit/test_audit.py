"""An audit finds what is wrong with a reward: rewards with known faults, and real ones without."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from groupwise.audit import Audit, Finding, audit
from groupwise.audit.cases import FORMS, changed_answers, gold, solution, wrong_cases
from groupwise.audit.labels import graded_outputs
from groupwise.errors import UserError
from groupwise.rewards import FinalAnswer, Math, as_reward
from groupwise.types import Example

SOLUTIONS = ("He has 3 + 4 = 7 apples.\n#### 7", "12 * 6 = 72\n#### 72", "50 / 2 = 25\n#### 25", "9 - 4 = 5\n#### 5")
ROWS = [
    Example(f"rows:{number}", f"What is it, {number}?", text, text.rpartition(" ")[2])
    for number, text in enumerate(SOLUTIONS, 1)
]


def found(done: Audit) -> dict[str, Finding]:
    return {finding.kind: finding for finding in (*done.findings, *done.graded)}


def run(function: Callable[..., Any], **options: Any) -> Audit:
    return audit(as_reward(function, "tested"), ROWS, **options)


@pytest.mark.parametrize("reward", [FinalAnswer(), Math()])
def test_a_sound_reward_makes_few_mistakes(reward: Any) -> None:
    done = audit(reward, ROWS)
    kinds = found(done)
    assert done.false_negatives.mistakes == 0
    assert kinds["the row's solution"].full == 4
    assert kinds["off by one"].full == kinds["empty"].full == kinds["praise of itself"].full == 0
    assert kinds["empty"].statuses == {"unparseable": 4}
    assert kinds["off by one"].less == 4
    assert kinds["a megabyte of brackets"].answers == 3
    assert done.form == "the row's solution"
    assert {finding.kind for finding in done.findings if finding.wrong} == set()
    assert kinds["cut before the answer"].statuses == {"unparseable": 4}


def test_what_was_cut_is_told_from_what_ended_without_an_answer() -> None:
    """The last number of a finished solution that marks no answer: whether it counts is for the reward's author."""
    lenient, strict = found(audit(Math(), ROWS[:1])), found(audit(Math(unmarked=False), ROWS[:1]))
    assert lenient["ended before the answer"].expected == "any"
    assert lenient["ended before the answer"].full == 1
    assert strict["ended before the answer"].statuses == {"unparseable": 1}
    careless = found(run(lambda completion, answer, finished: float(not finished)))
    assert careless["cut before the answer"].wrong == 4


def test_a_reward_that_looks_anywhere_is_caught() -> None:
    kinds = found(run(lambda completion, answer: float(answer in completion)))
    assert kinds["off by one"].wrong == 4  # the calculation before the answer names it
    assert kinds["all numbers from 0 to 100"].wrong == 4
    (first, *_) = kinds["off by one"].mistakes
    assert (first.id, first.answer, first.value, first.text.endswith("#### 8")) == ("rows:1", "7", 1.0, True)


def test_a_reward_that_reads_no_right_answer_has_false_negatives_only() -> None:
    done = run(lambda completion, answer: 0.0)
    assert done.false_negatives.mistakes == 4
    assert done.false_positives.mistakes == 0
    assert found(done)["the row's solution"].less == 4


def test_wrong_answers_are_written_as_the_reward_reads_right_ones() -> None:
    def tagged(completion: str, answer: str) -> float:
        return float(completion == f"<answer>{answer}</answer>")

    done = run(tagged)
    assert done.form == "<answer>N</answer>"
    assert done.false_negatives.mistakes == 0
    assert found(done)["the row's solution"].expected == "any"
    assert found(done)["off by one"].less == 4


def test_raising_hanging_and_wrong_are_told_apart() -> None:
    def moody(completion: str, answer: str) -> float:
        if "\x00" in completion:
            raise ValueError("embedded null\x1b[31m character")
        while completion == "":
            with suppress(Exception):  # a reward that will not be told
                time.sleep(0.01)
        return float(completion.endswith(answer))

    for limit in (0.5, 5.0, 50.0):  # the shortest in which the machine, however busy, gives the other answers
        kinds = found(run(moody, limit_seconds=limit))
        if not any("timeout" in kind.statuses for name, kind in kinds.items() if name != "empty"):
            break
    assert kinds["NUL characters"].statuses == {"failed": 4}
    assert kinds["empty"].statuses == {"timeout": 4}
    assert kinds["off by one"].less == 4
    assert kinds["the row's solution"].full == 4
    assert kinds["empty"].seconds >= 0.8 * limit


def test_partial_credit_is_no_full_reward() -> None:
    done = run(lambda completion, answer: 1.0 if completion.endswith(answer) else 0.2)
    assert found(done)["off by one"].wrong == 0
    strict = run(lambda completion, answer: 1.0 if completion.endswith(answer) else 0.2, correct_at=0.2)
    assert found(strict)["off by one"].wrong == 4


def test_a_reward_for_other_rows_is_its_user_s_to_mend() -> None:
    with pytest.raises(UserError, match="asks for 'unit_tests', and the row has no such column"):
        run(lambda completion, unit_tests: 1.0)
    with pytest.raises(UserError, match="rows with a reference answer"):
        audit(FinalAnswer(), [Example("rows:1", "?")])


def test_graded_outputs_give_rates_of_their_own() -> None:
    rows = [
        Example("rows:1", "?", answer="7", columns={"output": "#### 7", "label": True}),
        Example("rows:2", "?", answer="7", columns={"output": "#### 8", "label": 1}),
        Example("rows:3", "?", answer="7", columns={"output": "#### 8", "label": "incorrect"}),
        Example("rows:4", "?", answer="7", columns={"output": "#### 7", "label": "no"}),
        Example("rows:5", "?", answer="7", columns={"output": "?", "label": 0.0}),
    ]
    done = audit(FinalAnswer(), rows)
    right, wrong = done.graded
    assert (right.full, right.less, right.wrong) == (1, 1, 1)
    assert (wrong.full, wrong.less, wrong.statuses, wrong.wrong) == (1, 1, {"unparseable": 1}, 1)
    assert done.graded_false_negatives.mistakes == 1
    assert done.graded_false_positives.mistakes == 1
    assert done.graded_false_positives.interval is not None
    assert done.graded_false_positives.interval.value == pytest.approx(1 / 3)
    assert done.agreement is not None
    assert done.agreement.value == pytest.approx(3 / 5)
    plain = json.loads(json.dumps(done.to_json()))
    assert plain["graded_false_positives"]["answers"] == 3


def test_several_graded_outputs_may_stand_in_one_row() -> None:
    columns = {
        "small": {"is_correct": False, "solution": "A: 1"},
        "large": {"is_correct": True, "solution": ["7", "A: 7"]},
    }
    small, large = graded_outputs([Example("rows:1", "?", answer="7", columns=columns)])
    assert (small.source, small.right, small.text) == ("small", False, "A: 1")
    assert (large.source, large.right, large.text) == ("large", True, "7\nA: 7")


def test_columns_of_graded_outputs_can_be_named_and_are_checked() -> None:
    rows = [Example("rows:1", "?", answer="7", columns={"said": "#### 7", "ok": "yes"})]
    assert graded_outputs(rows) == []
    assert graded_outputs(rows, "said", "ok")[0].right
    with pytest.raises(UserError, match="rows:1: no column saying with ok; seen: said, ok"):
        graded_outputs(rows, "saying", "ok")
    with pytest.raises(UserError, match="ok is 'perhaps'; expected true or false"):
        graded_outputs([Example("rows:1", "?", columns={"said": "7", "ok": "perhaps"})], "said", "ok")


@pytest.mark.parametrize(
    ("right", "changed"),
    [
        ("42", {"43", "24", "-42", "420", "42.5"}),
        ("7", {"8", "-7", "70", "7.5"}),
        ("0", {"1", "0.5"}),
        ("1,200", {"1201", "1020", "-1200", "12000", "1200.5"}),
        ("-3.5", {"-2.5", "3.5", "-35.0", "-3.0"}),
        ("$18 dollars", {"$19 dollars", "$81 dollars"}),
        ("\\frac{3}{4}", {"\\frac{4}{4}"}),
        ("Paris", set()),
    ],
)
def test_changed_answers_are_near_misses(right: str, changed: set[str]) -> None:
    assert {answer for _, expected, answer in changed_answers(right) if expected == "none"} >= changed
    assert right not in {answer for _, _, answer in changed_answers(right)}


def test_a_unit_that_is_left_out_is_up_to_the_author() -> None:
    kinds = {kind: (expected, answer) for kind, expected, answer in changed_answers("18 dollars")}
    assert kinds["unit left out"] == ("any", "18")
    assert "unit left out" not in {kind for kind, _, _ in changed_answers("18")}


def test_the_reference_answer_of_a_whole_solution_is_its_final_answer() -> None:
    whole = Example("rows:1", "?", answer="16 - 7 = 9\nA: 18")
    assert gold(whole) == "18"
    assert solution(whole, "19") == "16 - 7 = 9\nA: 19"
    assert solution(Example("rows:1", "?", answer="18"), "19") is None


def test_every_kind_is_there_and_no_wrong_answer_is_right() -> None:
    cases = list(wrong_cases(ROWS, next(iter(FORMS))))
    kinds = {case.kind for case in cases}
    assert len(kinds) >= 24
    for case in cases:
        if case.kind in ("off by one", "two digits swapped", "sign flipped", "another row's answer"):
            assert not case.text.endswith(f"#### {case.example.answer}")
    assert max(len(case.text) for case in cases) >= 1_000_000
