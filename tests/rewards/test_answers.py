from __future__ import annotations

import json
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.errors import UserError
from groupwise.rewards.answers import FinalAnswer, final_answer, numbers_equal, parse_number, parse_quantity
from groupwise.types import Rollout

ROOT = Path(__file__).resolve().parents[2]
GSM8K = ROOT / "../shared/data/gsm8k"
real_data = pytest.mark.skipif(not GSM8K.is_dir(), reason="the GSM8K records are not beside this checkout")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("-3", -3),
        ("−5", -5),
        ("+3", 3),
        ("1,000", 1000),
        ("$1,234.50", Fraction(2469, 2)),
        ("-$5", -5),
        ("50%", 50),
        ("18.", 18),
        (".5", Fraction(1, 2)),
        ("1/2", Fraction(1, 2)),
        ("1.5/2.5", Fraction(3, 5)),
        (r"\frac{1}{2}", Fraction(1, 2)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        (r"\$18", 18),
        ("$18$", 18),
        ("1{,}000", 1000),
        ("**18**", 18),
        ("１２３", 123),
        ("＄１，２３４．５", Fraction(2469, 2)),
        ("1e3", 1000),
        ("2.5e-3", Fraction(1, 400)),
        ("1e-05", Fraction(1, 100_000)),
        ("10²", 100),
        ("½", Fraction(1, 2)),
        (r"3\frac{1}{2}", Fraction(7, 2)),
        ("1 1/2", Fraction(3, 2)),
        ("-2½", Fraction(-5, 2)),
        (r"1.6 \times 10^{-19}", Fraction(16, 10**20)),
        ("1.6×10⁻¹⁹", Fraction(16, 10**20)),
        ("2×10³", 2000),
        (r"\frac12", Fraction(1, 2)),
        (r"\frac{1}{2^{99}}", Fraction(1, 2**99)),
        (r"0.1\overline{6}", Fraction(1, 6)),
        (r"32,\! 349", 32_349),
    ],
)
def test_numbers_are_read_exactly(text: str, value: Fraction | int) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "-",
            "--5",
            "1,00",
            "1,000,0",
            "1.2.3",
            "1 2",
            "1/0",
            "18 dollars",
            "5元",
            "x = 5",
            "0x10",
            "1_000",
            "5\x00",
            "\ud800",
        ),
        *("nan", "inf", "five", "10+5", "1e999999999", "1e101", "9" * 201, "10^401", "10**10**10", "1,22", "٣"),
    ],
)
def test_what_is_not_one_number_is_none(text: str) -> None:
    assert parse_number(text) is None


@given(st.fractions(max_denominator=10**6))
def test_any_fraction_survives_being_written(value: Fraction) -> None:
    assert parse_number(str(value)) == value


@given(st.integers(-(10**30), 10**30), st.integers(0, 6))
def test_thousands_commas_and_trailing_zeros_change_nothing(value: int, zeros: int) -> None:
    written = f"{value:,}" + ("." + "0" * zeros if zeros else "")
    assert parse_number(written) == value
    assert numbers_equal(written, str(value))


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = final_answer(text, last_number=True)
    assert found is None or found.strip()
    assert parse_quantity(text) is None or isinstance(parse_quantity(text), Fraction)


def test_units_are_left_out_but_words_that_change_a_number_are_not() -> None:
    assert parse_quantity("18 dollars per day.") == parse_quantity("$18") == 18
    assert parse_quantity("1.8 billion") == parse_quantity("18亿元") == 1_800_000_000
    assert parse_quantity("1.8万") == 18_000
    for text in ("10 + 5", "10+John's age", "3 and a half", "2 to 3", "5 x y", "2 dozen", "5 or 6", "5 below zero"):
        assert parse_quantity(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<<2+2=4>>4\n#### 4\n", "4"),
        ("#### 3\nNo: #### 4", "4"),
        (r"so \boxed{1}, then \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}} and \boxed{3", r"\{1, 2\}"),
        ("some work\nA: 12", "12"),
        ("The answer is: **42**", "42"),
        ("Answer: 7", "7"),
        ("#### 1\nthe answer is 2", "1"),
        (r"\boxed{2}" + "\nA: 3", "2"),
        ("it is 5, or 6", None),
        ("", None),
        ("#### ", None),
    ],
)
def test_the_conventions_of_a_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_the_last_number_counts_only_when_asked_for() -> None:
    assert final_answer("it costs 5 or 1,006.50 in all") is None
    assert final_answer("it costs 5 or 1,006.50 in all", last_number=True) == "1,006.50"


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 3000 + "7" + "}" * 3000,
        r"\boxed{" * 300_000,
        "}" * 2_000_000,
        "####" * 500_000,
        "answer is" + " " * 2_000_000,
        "A:" + "\t" * 1_000_000 + "\n" * 1_000_000,
        "1," * 1_000_000,
        "\n \t" * 700_000,
    ],
)
def test_hostile_text_costs_little(text: str) -> None:
    started = time.process_time()
    answer = final_answer(text, last_number=True)
    parse_quantity(answer or "")
    assert time.process_time() - started < 1.0
    assert answer is None or len(answer) <= len(text)


def test_a_right_answer_is_one_a_wrong_one_zero_and_none_is_unparseable(rollout: Callable[..., Rollout]) -> None:
    texts = ["#### 4", "#### 4.0", "#### 5", "#### four", "no idea"]
    scores = FinalAnswer().score([rollout(text, answer="2+2=<<2+2=4>>4\n#### 4") for text in texts])
    assert [score.value for score in scores] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert [score.status for score in scores] == ["scored"] * 3 + ["unparseable"] * 2


def test_a_row_without_an_answer_is_an_error_and_one_that_cannot_be_read_is_counted(
    rollout: Callable[..., Rollout],
) -> None:
    with pytest.raises(UserError, match=r"data\.jsonl:7: reward 'answer' needs an answer .* add a column 'answer'"):
        FinalAnswer().score([rollout(answer=None, id="data.jsonl:7")])
    rows = [rollout(answer="x + 1"), rollout(), rollout(answer="", golden=""), rollout(answer="New York City")]
    scores = FinalAnswer().score(rows)
    assert [(score.value, score.status) for score in scores] == [
        (None, "failed"),
        (1.0, "scored"),
        (None, "failed"),
        (None, "failed"),
    ]
    assert "'x + 1' is not one; give a number" in scores[0].reason
    assert scores[2].reason == "the row has no answer"
    assert scores[3].reason == "'New York City' is neither a number, a choice, a list nor mathematics"
    assert [bool(reason) for reason in FinalAnswer().unreadable([row.prompt.example for row in rows])] == [
        *(True, False, True, True)
    ]


@real_data
@pytest.mark.parametrize(("split", "count"), [("train", 7473), ("test", 1319)])
def test_every_gold_solution_of_gsm8k_is_right_and_none_with_another_number(
    split: str, count: int, rollout: Callable[..., Rollout]
) -> None:
    golds = [json.loads(line)["answer"] for line in (GSM8K / f"{split}.jsonl").open(encoding="utf-8")]
    assert len(golds) == count
    whole = FinalAnswer().score([rollout(gold, answer=gold) for gold in golds])
    number = FinalAnswer().score([rollout(gold, answer=gold.rpartition("####")[2]) for gold in golds])
    changed = FinalAnswer().score([rollout(text, answer=gold) for gold in golds for text in _changed(gold)])
    assert {score.value for score in whole} == {score.value for score in number} == {1.0}
    assert {(score.value, score.status) for score in changed} == {(0.0, "scored")}


def _changed(gold: str) -> list[str]:
    steps, _, number = gold.rpartition("####")
    value = int(number.replace(",", ""))
    return [f"{steps}#### {other}" for other in (value + 1, f"{value}.5")]


@real_data
def test_labels_of_openais_sampled_solutions_are_agreed_with(rollout: Callable[..., Rollout]) -> None:
    listed = json.loads((ROOT / "benchmarks/gsm8k_labels.json").read_text(encoding="utf-8"))
    compared, disagreements = 0, []
    lines = (GSM8K / "example_model_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    for row, record in enumerate(map(json.loads, lines), start=1):
        for model in listed["models"]:
            sample = record[model]
            (score,) = FinalAnswer().score([rollout(sample["solution"], answer=record["ground_truth"])])
            compared += 1
            if (score.value == 1.0) != sample["is_correct"]:
                disagreements.append((row, model))
    assert compared == listed["solutions"] == 5276
    assert disagreements == [(entry["row"], entry["model"]) for entry in listed["disagreements"]]
