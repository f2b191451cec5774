"""Evaluations on several benchmarks beside each other: domains, contamination, words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groupwise.commands.suite_rows import columns, remarks, rows
from groupwise.evaluation.evaluate import Evaluation, Settings
from groupwise.evaluation.measure import Measure
from groupwise.evaluation.suites import SuiteResults


def evaluation(name: str, values: list[float], **more: Any) -> Evaluation:
    measure, settings = Measure.of(values), Settings(samples=2, sampled_problems=len(values))
    pass_at = {1: measure, 2: measure}
    ids = tuple(f"{name}/{place}" for place in range(len(values)))
    numbers = {"seconds": 1.0, "tokens": 9, "mean_completion_tokens": 3.0, "truncated_fraction": 0.25}
    counts = {"unparseable_fraction": 0.0, "unscored_fraction": 0.0, "prompts_too_long": 0, "completions": ()}
    more |= {"judge": "math"}
    return Evaluation(name, settings, ids, measure, measure, pass_at, pass_at, **numbers, **counts, **more)


BEFORE = {"gsm8k": [0.0] * 40, "svamp": [0.0, 1.0] * 10, "cmath": [1.0] * 10}
AFTER = {"gsm8k": [1.0] * 30 + [0.0] * 10, "svamp": [1.0, 0.0] * 10, "cmath": [1.0] * 10}
TWO = SuiteResults(
    ("sft", "grpo"),
    {name: (evaluation(name, BEFORE[name]), evaluation(name, AFTER[name])) for name in BEFORE},
    {"gsm8k": frozenset({"gsm8k/0", "gsm8k/39"}), "svamp": frozenset(), "cmath": frozenset()},
    ("gsm8k",),
)


def test_domains_are_pooled_and_paired() -> None:
    assert TWO.domains == {"in domain": ("gsm8k",), "out of domain": ("svamp", "cmath")}
    before, after = TWO.pooled(("svamp", "cmath"))
    assert (before.value, after.value) == (20 / 30, 20 / 30)
    inside = TWO.pooled_difference(("gsm8k",))
    assert inside is not None
    assert inside.value == 0.75
    assert inside.low > 0.5
    assert TWO.sentence.startswith("Greedy accuracy in domain (40 problems): raised, +0.750 [")
    assert "out of domain (30 problems): no difference shown, +0.000" in TWO.sentence


def test_without_a_domain_or_a_second_model_there_is_no_sentence() -> None:
    one = SuiteResults(("sft",), {"gsm8k": TWO.benchmarks["gsm8k"][:1]}, in_domain=("gsm8k",))
    assert (one.domains, one.sentence, one.comparison("gsm8k")) == ({}, "", None)
    single = SuiteResults(("sft",), {name: done[:1] for name, done in TWO.benchmarks.items()}, in_domain=("gsm8k",))
    assert single.sentence == ""


def test_problems_that_training_data_hold_are_counted_and_left_out() -> None:
    before, after = TWO.clean("gsm8k")
    assert (before.value, after.value) == (0.0, 29 / 38)
    assert TWO.clean("svamp") == ()
    assert any("gsm8k, grpo, without contaminated problems: 0.763" in line for line in remarks(TWO))


def test_two_models_have_a_row_for_each_measure_and_each_domain() -> None:
    table = list(rows(TWO))
    assert columns(TWO) == ["benchmark", "sft", "grpo", "difference"]
    assert [row[0] if row else "" for row in table][:7] == [
        "gsm8k: greedy", "gsm8k: pass@2", "gsm8k: maj@2", "gsm8k: truncated", "gsm8k: contaminated",
        "in domain: greedy", "",
    ]  # fmt: skip
    assert table[0][1:] == ["0.000 [0.000, 0.088]", "0.750 [0.598, 0.858]", pytest.approx(table[0][3])]
    assert table[4][1:] == ["2 (5.0%)", "2 (5.0%)", ""]


def test_one_model_has_a_row_for_each_benchmark() -> None:
    one = SuiteResults(("sft",), {name: done[:1] for name, done in TWO.benchmarks.items()})
    assert columns(one) == ["benchmark", "problems", "greedy", "pass@2", "maj@2", "truncated", "contaminated"]
    assert next(rows(one)) == ["gsm8k", "40", *["0.000 [0.000, 0.088]"] * 3, "25.0%", "not asked"]


def test_programs_have_a_column() -> None:
    told = evaluation("gsm8k", [1.0, 0.0], reward_means={"program": 0.5})
    assert next(rows(SuiteResults(("a",), {"gsm8k": (told,)})))[5] == "0.500"


def test_all_of_it_is_json() -> None:
    values = json.loads(json.dumps(TWO.to_json()))
    assert values["contaminated"]["gsm8k"] == ["gsm8k/0", "gsm8k/39"]
    assert values["domain_differences"]["in domain"]["value"] == 0.75
    assert Evaluation.from_json(values["models"][1]["benchmarks"]["gsm8k"]).greedy.value == 0.75
