"""References and completions that nobody had named: words, units, times, ranges, choices, denials; and, some of them
for algebra, looks of LaTeX, intervals, scripts, corrections.
``transcript_readings.tsv`` has the ways in which transcripts of benchmarks end: several boxes, thinking, tables, code,
remarks, corrections, options, languages, compound quantities. ``model_readings.tsv`` has the endings of the models of
2024 to 2026 (channels, blocks that are cut, sentences in tags, several boxes, reports), units in every spelling,
shares, bounds and bases, each with near misses. The tables have reference, completion and score."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from groupwise.rewards import FinalAnswer, Math
from groupwise.rewards.reading.bases import in_base
from groupwise.rewards.reading.moments import moment
from groupwise.rewards.reading.notation import tidy
from groupwise.rewards.reading.number_words import in_digits
from groupwise.types import Example, Prompt, Rollout


def rows(file: str) -> list[tuple[Rollout, float]]:
    lines = Path(__file__).with_name(file).read_text(encoding="utf-8").splitlines()
    found = [line.split("\t") for line in lines]
    return [
        (
            Rollout(Prompt(Example("row", "?", answer=gold), ()), (0,), (True,), (0.0,), json.loads(text), True, 0),
            float(v),
        )
        for gold, text, v in found
    ]


@pytest.mark.parametrize(
    "file", ["sibling_readings.tsv", "further_readings.tsv", "transcript_readings.tsv", "model_readings.tsv"]
)
def test_siblings_are_read_as_they_are_meant(file: str) -> None:
    cases = rows(file)
    rollouts, wanted = [row for row, _ in cases], [value for _, value in cases]
    assert Counter(wanted)[1.0] > 300
    assert Counter(wanted)[0.0] > 150
    for reward in (Math(), FinalAnswer(last_number=True)):
        scores = reward.score(rollouts)
        wrong = [
            (row.prompt.example.answer, row.text, score.value)
            for row, value, score in zip(rollouts, wanted, scores, strict=True)
            if score.value != value and not (reward.name == "answer" and score.status != "scored")
        ]
        assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "+" * 200 + " " * 400 + r"\mathbb{Z}q",
        "+-=" * 66 + r"\ (" * 400 + "integer",
        "5" * 40 + " " * 400 + "in" + " " * 400 + "base",
        "x = 5" + " ," * 400 + r"\mathbb{Z}",
    ],
)
def test_what_only_begins_like_a_set_of_integers_or_a_base_takes_no_time(text: str) -> None:
    assert tidy(text)[:3] == text[:3]
    assert in_base(text) is None


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("seven", "7"),
        ("twenty-five apples", "25 apples"),
        ("one hundred and five", "105"),
        ("two thousand three hundred", "2300"),
        ("a million dollars", "1000000 dollars"),
        ("three quarters", "3/4"),
        ("two and a half hours", "5/2 hours"),
        ("half", "1/2"),
        ("half a dozen", "1/2 dozen"),
        ("minus nineteen", "-19"),
        ("三十五元", "35元"),
        ("一百零三", "103"),
        ("一万二千三百", "12300"),
        ("两个", "2个"),
        ("一百五", "150"),
        ("一万五", "15000"),
        ("一百二十五", "125"),
        ("百分之三十五", "35%"),
        ("四分之三", "3/4"),
        ("三点一四", "3.14"),
        ("二〇二一", "2021"),
        ("one of them", None),
        ("one must be careful", None),
        ("一定是", None),
        ("一共有7个", None),
        ("三三", None),
        ("and", None),
        ("", None),
        ("seventh", None),
    ],
)
def test_numbers_in_words(text: str, digits: str | None) -> None:
    assert in_digits(text) == digits


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2:30 PM", "14:30 h"),
        ("02:30", "2:30"),
        ("12:05 a.m.", "0:05 am"),
        ("12 pm", "12:00 h"),
        ("May 5th, 2021", "2021-05-05"),
        ("5 May 2021", "2021-05-05"),
        ("2021/5/5", "2021-05-05"),
        ("2021年5月5日", "2021-05-05"),
        ("Sept. 3", "09-03"),
        ("5/4/2021", "5/4/2021"),
    ],
)
def test_times_and_dates_have_one_spelling(one: str, other: str) -> None:
    assert moment(one) == other


@pytest.mark.parametrize("text", ["25:00 PM", "13 am", "2021", "3:4", "May", "5", ""])
def test_what_is_no_time_is_none(text: str) -> None:
    assert moment(text) is None
