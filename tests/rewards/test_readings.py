"""References and completions as people write them: ``readings.tsv`` has reference, completion and score."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise.rewards import FinalAnswer, Math
from groupwise.rewards.answers import final_answer
from groupwise.rewards.reading.reader import Reader
from groupwise.rewards.reading.references import read_reference
from groupwise.types import Rollout, Score

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "../shared/data"
Make = Callable[..., Rollout]


def table() -> list[tuple[str, str, float]]:
    lines = Path(__file__).with_name("readings.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    return [(gold, re.sub(r"\\n(?![a-z])", "\n", text), float(value)) for gold, text, value in rows]


def test_a_completion_is_read_as_it_is_meant() -> None:
    """The whole table, scored in one call; what fails is named with what it should be."""
    from groupwise.types import Example, Prompt

    rows = [
        Rollout(Prompt(Example("row", "?", answer=gold), (1,)), (1,), (True,), (0.0,), text, True, 0)
        for gold, text, _ in table()
    ]
    assert len(rows) > 500
    scores = zip(table(), Math().score(rows), strict=True)
    assert [(row, score) for row, score in scores if score.value != row[2]] == []


PLAIN = [
    *("**Answer**: 5", "**Answer:** 5", "**Final Answer**\n5", "Answer:\n5", "The answer is 5. I am 100% sure"),
    *("The answer is 5 because 2+3=5.", "The answer is `5`.", "The answer is 5 (five).", "<answer>5</answer>"),
    *(
        "The answer is therefore 5.",
        "#### Step 1: 3+4\n\n\\boxed{5}",
        "#### 5\n\n#### Step 2: check",
        "##### A\n\\boxed{5}",
    ),
    *(
        "答案是5元。",
        "答案：5",
        "故答案为：5.",
        "最终答案为 $5$",
        "\\boxed{5元}",
        "答案是 5",
        "答：需要5匹布料。",
        "答案是５。",
    ),
    *("<think>\\boxed{8}</think> The answer is 5.", "\\boxed{8}</think>\\boxed{5}", "\\boxed{5 cm^2}", "\\boxed{5.0}"),
]


@pytest.mark.parametrize("text", PLAIN)
def test_numbers_need_no_algebra(text: str, rollout: Make) -> None:
    assert FinalAnswer().score([rollout(text, answer="5"), rollout(text, answer="6")]) == [Score(1.0), Score(0.0)]


@pytest.mark.parametrize("reward", [FinalAnswer(last_number=True), Math()], ids=lambda reward: reward.name)
def test_who_names_several_answers_names_one_or_none(reward: Any, rollout: Make) -> None:
    """Whatever the reference is, at most one of the numbers that a text lists can be right."""
    lists = ["{0} or {1}", "\\boxed{{{0} or {1}}}", "\\boxed{{{0}}} \\boxed{{{1}}}", "\\boxed{{{0}}} or \\boxed{{{1}}}"]
    lists += ["#### {0} #### {1}", "#### {0}\n#### {1}", "The answer is {0}. The answer is {1}.", "{0}, {1}"]
    lists += [
        "<answer>{0}</answer><answer>{1}</answer>",
        "#### {0}\n\\boxed{{{1}}}\nA: 9",
        "答案是{0}或{1}。",
        "{0} {1}",
    ]
    lists += ["The answer is {0} or {1}", "\\boxed{{{0}}}\nThe answer is {1}", "$x={0}$ or $x={1}$", "not {0}, {1}"]
    texts = [text.format(5, 6) for text in lists]
    for text in texts:
        scores = reward.score([rollout(text, answer=str(gold)) for gold in range(4, 10)])
        assert sum(score.value or 0.0 for score in scores) <= 1.0, text
    last = [reward.score([rollout(text, answer="6")])[0].value for text in texts]
    assert last == [0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, last[15]]


def test_a_block_that_the_prompt_opened_is_known_by_its_row_or_said(rollout: Make) -> None:
    cut = "I think it is 5. The answer is 5. But"
    assert FinalAnswer().score([rollout(cut, answer="5", prompt="2+3?\n<think>\n")]) == [Score(0.0, "unparseable")]
    assert FinalAnswer().score([rollout(cut, answer="5")]) == [Score(1.0)]
    assert Math(begins_in_thinking=True).score([rollout(cut, answer="5")]) == [Score(0.0, "unparseable")]
    assert Math(begins_in_thinking=True).score([rollout(f"{cut}</think>5", answer="5")]) == [Score(1.0)]
    begun = ({"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "<think>"})
    assert Math().score([rollout(cut, answer="5", prompt=begun)]) == [Score(0.0, "unparseable")]
    assert Math().score([replace(rollout("<think>The answer is 5.", answer="5"), finished=False)]) == [
        Score(0.0, "unparseable")
    ]


def test_a_list_of_answers_is_said_to_be_alternatives_or_one(rollout: Make) -> None:
    rows = [rollout(text, answer='["4", "four"]') for text in ("#### 4", "The answer is four.", "#### 5")]
    assert {score.status for score in Math().score(rows)} == {"failed"}
    assert [score.value for score in Math(several="any").score(rows)] == [1.0, 1.0, 0.0]
    both = [rollout(text, answer='["1", "2"]') for text in ("\\boxed{1, 2}", "\\boxed{2,1}", "\\boxed{1}", "1 and 2")]
    assert [score.value for score in Math(several="all").score(both)] == [1.0, 1.0, 0.0, 1.0]
    assert FinalAnswer().score([rollout("#### 4", answer='["4"]')]) == [Score(1.0)]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import answers

    return answers


def test_every_kind_of_reference_is_right_in_its_endings_and_wrong_with_one_thing_changed(benchmark: Any) -> None:
    """Of the cross of benchmarks/answers.py every 29th case, so that each ending meets other references."""
    assert len(benchmark.kinds()) >= 340
    assert len(benchmark.ENDINGS) >= 20
    right, wrong = benchmark.kind_cases(every=29)
    assert {ending for ending, *_ in right} == {*benchmark.ENDINGS}
    assert benchmark.count(Math(), right, 1.0)["missed"] == []
    assert benchmark.count(Math(), wrong, 0.0)["missed"] == []


@pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside this checkout")
@pytest.mark.parametrize("reward", [FinalAnswer(), Math()], ids=lambda reward: reward.name)
def test_references_of_real_data_are_right_in_every_ending_and_wrong_off_by_one(reward: Any, benchmark: Any) -> None:
    references = list(benchmark.plain_references(DATA))
    assert len(references) == 7473 + 1319 + 1000 + 1098
    right, wrong = benchmark.plain_cases(references, every=97)
    assert {ending for ending, *_ in right} == {*benchmark.PLAIN_ENDINGS}
    assert benchmark.count(reward, right, 1.0)["missed"] == []
    assert benchmark.count(reward, wrong, 0.0)["missed"] == []


@pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside this checkout")
def test_references_of_real_data_are_read_by_the_thousand(rollout: Make) -> None:
    lines = (DATA / "cmath/test.jsonl").read_text(encoding="utf-8").splitlines()
    examples = [rollout(answer=str(json.loads(line)["golden"])).prompt.example for line in lines]
    assert set(FinalAnswer().unreadable(examples)) == set(Math().unreadable(examples)) == {""}


HOSTILE = [
    *("\\boxed{" * 300_000, "}" * 2_000_000, "####" * 500_000, "answer is" + " " * 2_000_000, "1," * 1_000_000),
    *("<think>" * 300_000, "</think>" * 300_000, "答案是" * 600_000, "$" * 2_000_000, "$a$ or " * 300_000),
    *("answer\n" * 300_000, "```output\n" * 200_000, "5 " * 1_000_000, "the answer is 5 because " * 100_000),
    *("√" * 1_000_000, "½" * 1_000_000, "\\text{" * 400_000, "not " * 500_000, "analysis" * 200_000, "a/" * 1_000_000),
    *(
        "\\boxed{1}\\boxed{2}" * 100_000,
        "\\boxed{1} and " * 100_000,
        "\\boxed{" + "a," * 990 + "}",
        "#### " + "1 " * 999,
    ),
    *("\\boxed{" + "(" * 1990 + "}", "\\boxed{" + " and " * 390 + "}", "\\boxed{" + "\\begin{cases}" * 140 + "}"),
    *("\\boxed{" + "\\text{a} " * 240 + "}", "answer " + "to " * 600 + " is 5", "\\boxed{5 km" + " km" * 600 + "}"),
]


@pytest.mark.parametrize("gold", ["5", "1, x"])
def test_no_text_takes_long_to_read(gold: str, rollout: Make) -> None:
    """Processor time of reading alone: algebra has a limit of its own."""
    reward = Math()
    for text in HOSTILE:
        row, started = rollout(text, answer=gold), time.process_time()
        reward._read(row, reward._reference(row.prompt.example))
        assert time.process_time() - started < 2.0, text[:40]


@pytest.mark.parametrize("blank", ["", " ", "\x85", "\u2028", "\u2029", "\x1c", "\x0b\x0c", "\u3000", "\ufeff", "\x00"])
@pytest.mark.parametrize(
    "frame",
    ["A: {}", "答案：{}", "the answer is {}", "#### {}", r"\boxed{{{}}}", "<answer>{}</answer>", "${}$"],
)
def test_nothing_visible_behind_a_marker_is_no_answer(blank: str, frame: str) -> None:
    text = frame.format(blank)
    gold = read_reference("5")
    assert Reader().answer(text, gold, unmarked=True) not in gold.values
    read_reference(text)
    final_answer(text, last_number=True)


@pytest.mark.parametrize(
    "text",
    [
        "\u00b0" * 29 + "<<",
        "^\\circ " * 60 + "<<",
        " " * 400 + "!",
        "A" + " " * 400 + "x",
        "," * 400 + "!",
        "so " * 200 + "!",
    ],
)
@pytest.mark.parametrize("frame", ["{}", "#### {}", r"\boxed{{{}}}", "the answer is {}"])
def test_no_repetition_takes_long(text: str, frame: str) -> None:
    """Patterns with two ways to read one space would take longer than anybody waits."""
    started = time.process_time()
    Reader().answer(frame.format(text), read_reference("5"), unmarked=True)
    read_reference(frame.format(text))
    assert time.process_time() - started < 2.0
