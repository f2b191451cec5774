"""Reference answers of any type: numbers without loss, and nothing structured without a word."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.errors import UserError
from groupwise.tasks.conventions import Reading, examples, recognise
from groupwise.tasks.golds import answer_of
from groupwise.types import Example


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("4", "4"), (4, "4"), (-3, "-3"), (4.0, "4.0"), (0.1, "0.1"), (1e-05, "0.00001"), (-2.5e-7, "-0.00000025"),
        (1e16, "10000000000000000"), (1.5e20, "150000000000000000000"), (0.0, "0.0"), (-0.0, "0.0"),
        (True, "true"), (False, "false"), (b"5", "5"), ("Zürich".encode(), "Zürich"), (Decimal("1E+3"), "1000"),
        (Decimal("0.10"), "0.10"), (date(2026, 1, 2), "2026-01-02"), (["4"], "4"), ([[4]], "4"), ([1e-5], "0.00001"),
        (10**30, "1" + "0" * 30), ("", ""),
    ],
)  # fmt: skip
def test_a_gold_as_text(value: Any, text: str) -> None:
    assert answer_of(value, "row: answer") == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_back_from_its_text(value: float) -> None:
    text = answer_of(value, "row: answer")
    assert float(text) == value
    assert set(text) <= set("-0123456789.")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), b"\xff", [], {}, [None], object()])
def test_what_is_no_gold(value: Any) -> None:
    with pytest.raises(UserError, match=r"row: answer.* expected the reference answer"):
        answer_of(value, "row: answer")


def read(row: dict[str, Any], **reading: Any) -> Example:
    rows = [("a.jsonl:1", row)]
    (example,) = examples(rows, recognise(rows, reading=Reading(**reading)))
    return example


SHAPES = [
    {"question": "q", "answer": ["4", "four"]},
    {"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": ["4", "four"]}},
    {"prompt": [{"role": "user", "content": "q"}], "reward_model": '{"ground_truth": ["4", "four"]}'},
    {"messages": [{"role": "user", "content": "q"}], "final_answer": ["4", "four"]},
]


@pytest.mark.parametrize("row", SHAPES)
def test_a_list_of_several_means_what_one_says(row: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"a.jsonl:1: .* is a list of 2; say with structured_answers what it means"):
        read(row)
    any_of = read(row, structured="any")
    assert (any_of.answer, any_of.alternatives) == ("4", ("four",))
    assert (read(row, structured="all").answer, read(row, structured="all").alternatives) == ("4, four", ())
    assert read(row, structured="json").answer == '["4", "four"]'


def test_an_object_names_its_fields_and_the_way_out() -> None:
    row = {"question": "q", "answer": {"value": "5", "unit": "m"}}
    with pytest.raises(UserError, match=r"answer is an object with the fields value, unit; .*answer\.value"):
        read(row)
    assert read(row, answer="answer.value").answer == "5"
    assert read({**row, "answer": '{"value": "5"}'}, answer="answer.value").answer == "5"
    deep = {"prompt": "q", "reward_model": {"ground_truth": {"target": ["a", "b"]}}}
    found = read(deep, answer="reward_model.ground_truth.target", structured="any")
    assert (found.answer, found.alternatives) == ("a", ("b",))
    with pytest.raises(UserError, match=r'a.jsonl:1: answer: no column "vale", perhaps you meant "value"'):
        read(row, answer="answer.vale")
