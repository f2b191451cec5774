"""Questions with choices, in the columns of the public sets: lettered in the prompt, and the gold a letter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.rewards import by_name
from groupwise.tasks.conventions import Reading, examples, recognise
from groupwise.types import Example, Prompt, Rollout

FOUR = ["oxygen", "carbon dioxide", "helium", "neon"]
LETTERED = "Which gas?\n\nA. oxygen\nB. carbon dioxide\nC. helium\nD. neon"
LABELS = {"text": FOUR, "label": ["A", "B", "C", "D"]}
Q = {"question": "Which gas?"}


def read(*rows: Mapping[str, Any], **reading: Any) -> list[Example]:
    numbered = [(f"a.jsonl:{number}", row) for number, row in enumerate(rows, 1)]
    return examples(numbered, recognise(numbered, reading=Reading(**reading)))


def described(*rows: Mapping[str, Any]) -> str:
    return recognise([(f"a.jsonl:{number}", row) for number, row in enumerate(rows, 1)]).description


def each(names: str, start: str = "") -> dict[str, str]:
    return {start + name: text for name, text in zip(names, FOUR, strict=True)}


ZERO = {**Q, "choices": FOUR, "answer": 0}


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([{"id": "m", **Q, "choices": LABELS, "answerKey": "B"}], id="ARC"),
        pytest.param(
            [{**Q, "choices": {**LABELS, "label": ["1", "2", "3", "4"]}, "answerKey": "2"}], id="ARC, numbers"
        ),
        pytest.param([{**Q, "question_concept": "gas", "choices": LABELS, "answerKey": "B"}], id="CommonsenseQA"),
        pytest.param([{"question_stem": "Which gas?", "choices": LABELS, "answerKey": "B"}], id="OpenBookQA"),
        pytest.param([{**Q, "choices": FOUR, "answer": 1, "subject": "biology"}, ZERO], id="MMLU"),
        pytest.param([{**Q, "choices": json.dumps(FOUR), "answer": "1"}, {**ZERO, "answer": "0"}], id="MMLU, csv"),
        pytest.param([{**Q, "options": FOUR, "answer": "B", "answer_index": 1, "cot_content": ""}], id="MMLU-Pro"),
        pytest.param([{"ctx": "Which gas?", "ctx_a": "Which", "endings": FOUR, "label": "1"}], id="HellaSwag"),
        pytest.param(
            [{**Q, "options": dict(zip("ABCD", FOUR, strict=True)), "answer": FOUR[1], "answer_idx": "B"}], id="MedQA"
        ),
        pytest.param([{**Q, **each("abcd", "op"), "cop": 1}, {**Q, **each("abcd", "op"), "cop": 0}], id="MedMCQA"),
        pytest.param(
            [{**Q, **each("abcd", "op"), "cop": 2}, {**Q, **each("abcd", "op"), "cop": 4}], id="MedMCQA, from 1"
        ),
        pytest.param(
            [{**Q, "options": [f"{a}){t}" for a, t in zip("ABCD", FOUR, strict=True)], "correct": "B"}], id="AQuA"
        ),
        pytest.param([{"id": 0, **Q, **each("ABCD"), "answer": "B"}], id="C-Eval"),
        pytest.param([{"Question": "Which gas?", **each("ABCD"), "Answer": "B"}], id="CMMLU"),
        pytest.param([{"input": "Which gas?", **each("ABCD"), "target": "B"}], id="MMLU, columns"),
        pytest.param([{"query": "Which gas?", "options": FOUR, "correct_option": 1}], id="LogiQA"),
        pytest.param([{"startphrase": "Which gas?", **each("0123", "ending"), "label": 1}], id="SWAG"),
        pytest.param([{"sentence": "Which gas?", **each("1234", "option"), "answer": "2"}], id="WinoGrande"),
        pytest.param(
            [
                {"goal": "Which gas?", **each("1234", "sol"), "label": 1},
                {"goal": "x", **each("1234", "sol"), "label": 0},
            ],
            id="PIQA",
        ),
        pytest.param(
            [
                {**Q, "answerA": FOUR[0], "answerB": FOUR[1], "answerC": FOUR[2], "answerD": FOUR[3], "label": "2"},
                {**Q, "answerA": "x", "answerB": "y", "answerC": "z", "answerD": "w", "label": "4"},
            ],
            id="Social IQa",
        ),
        pytest.param([{**Q, "options": str(FOUR), "answer": "B"}], id="MMMU"),
        pytest.param(
            [{**Q, "choices": [{"label": a, "text": t} for a, t in zip("ABCD", FOUR, strict=True)], "answer": "B"}],
            id="objects",
        ),
        pytest.param([{**Q, "choices": FOUR, "answer": "carbon dioxide"}], id="text"),
        pytest.param([{**Q, "choices": FOUR, "answer": "(B) carbon dioxide"}], id="letter and text"),
        pytest.param([{**Q, "choices": FOUR, "answer": "B."}], id="letter and point"),
        pytest.param([{**Q, "choices": FOUR, "answer": ["B"]}], id="a list of one"),
        pytest.param([{**Q, "choices": FOUR, "answer": "b"}, {**ZERO, "answer": "oxygen"}], id="one so, one so"),
        pytest.param([{**Q, "options": FOUR, "answer": None, "label": "B"}], id="AGIEval"),
        pytest.param([{"question": LETTERED, "choices": FOUR, "answer": "B"}], id="in the question already"),
    ],
)
def test_the_public_sets(rows: list[dict[str, Any]]) -> None:
    example = read(*rows)[0]
    assert example.prompt == LETTERED
    assert (example.answer, example.completion) == ("B", "B")
    assert "not used: answer" in described(*rows) or "not used" not in described(*rows).partition("answer, a letter")[0]
    for columns in ("choices", "options", "endings"):
        if columns in rows[0]:
            assert example.columns[columns] == rows[0][columns]  # a reward of one's own gets them as they were


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({**Q, "mc1_targets": {"choices": FOUR, "labels": [1, 0, 0, 0]}}, id="TruthfulQA"),
        pytest.param(
            {
                "Question": "Which gas?",
                "Correct Answer": FOUR[0],
                **{f"Incorrect Answer {n}": FOUR[n] for n in (1, 2, 3)},
            },
            id="GPQA",
        ),
        pytest.param({**Q, "correct_answer": FOUR[0], **{f"distractor{n}": FOUR[n] for n in (1, 2, 3)}}, id="SciQ"),
        pytest.param({**Q, "correct_answer": FOUR[0], "incorrect_answers": FOUR[1:]}, id="OpenTDB"),
    ],
)
def test_where_the_right_one_is_always_first_the_order_is_drawn(row: dict[str, Any]) -> None:
    """The order depends on the choices alone: the same in every run, and another in another row."""
    (example,) = read(row)
    assert [example] == read(row)
    shown = dict(line.split(". ", 1) for line in str(example.prompt).split("\n\n")[1].splitlines())
    assert sorted(shown.values()) == sorted(FOUR)
    assert shown[str(example.answer)] == "oxygen"
    assert "in an order of their own in each row; answer, a letter: the right one" in described(row)


def test_every_letter_is_right_now_and_then() -> None:
    rows = [
        {"question": f"{n}+1", "correct_answer": str(n + 1), "incorrect_answers": [str(n + k) for k in (2, 3, 4)]}
        for n in range(40)
    ]
    assert {example.answer for example in read(*rows)} == set("ABCD")


def test_a_file_says_once_what_its_numbers_mean() -> None:
    """Numbers among the choices: what all rows can be is what each is."""
    rows = [{**Q, "choices": ["1", "2", "3", "0"], "answer": 1}, ZERO]
    assert [example.answer for example in read(*rows)] == ["B", "A"]
    assert described(*rows).endswith("answer, a letter: answer, counted from 0")
    assert read({**Q, "choices": [3, 4, 5], "answer": 4})[0].answer == "B"
    one = [{**Q, "choices": ["x", "y"], "answer": 2}, {**Q, "choices": ["x", "y"], "answer": 1}]
    assert [example.answer for example in read(*one)] == ["B", "A"]
    assert described(*one).endswith("counted from 1")
    both = [{**Q, "choices": list(order), "answer": "0"} for order in ("10", "01")]
    with pytest.raises(UserError, match="is the text of a choice, and the place of another, in all rows"):
        read(*both)


def test_the_passage_comes_first() -> None:
    (example,) = read({"article": "Plants breathe.", **Q, "options": FOUR, "answer": "B"})
    assert example.prompt == f"Plants breathe.\n\n{LETTERED}"
    (example,) = read({"context": "Plants breathe.", **Q, "options": FOUR, "answer": "B"})
    assert example.prompt == f"Plants breathe.\n\n{LETTERED}"
    (example,) = read({"premise": "It fell.", "choice1": "x", "choice2": "y", "question": "cause", "label": 0})
    assert example.prompt == "It fell.\n\ncause\n\nA. x\nB. y"
    (example,) = read({"prompt": [{"role": "user", "content": "Which gas?"}], "choices": FOUR, "answer": "B"})
    assert example.prompt == ({"role": "user", "content": LETTERED},)


def test_a_solution_is_what_is_demonstrated() -> None:
    first, second = read(
        {**Q, "choices": FOUR, "answer": 1, "solution": ""}, {**Q, "choices": FOUR, "answer": 0, "solution": "so: A"}
    )
    assert (first.completion, first.answer) == (None, "B")
    assert (second.completion, second.answer) == ("so: A", "A")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"choices": FOUR, "answer": "maybe"},
            r"a.jsonl:1: answer is str 'maybe'; expected one of A, B, C, D, a number",
        ),
        ({"choices": FOUR, "answer": "E"}, r"answer is str 'E'; expected one of A, B, C, D"),
        ({"choices": FOUR, "answer": 7}, r"answer is int '7'; .*name choices in ignore_columns"),
        ({"choices": FOUR, "answer": ["A", "C"]}, r"answer is list; expected one of A, B, C, D"),
        ({"choices": FOUR, "answer": True}, r"answer is bool 'True'; expected one of"),
        ({"endings": FOUR, "label": ""}, r"label is str '': no choice is named as right, as in the test split"),
        ({"choices": FOUR, "answer": -1}, r"answer is int '-1': no choice is named as right"),
        ({"choices": ["only"], "answer": "A"}, r"choices is list; expected 2 to 26 choices"),
        ({"choices": ["x", " "], "answer": "A"}, r"choices, choice 1 is empty; expected text"),
        ({"choices": {"text": ["x", "y"], "label": ["A"]}, "answer": "A"}, r"has the labels A for 2 choices"),
        ({"mc1_targets": {"choices": ["x", "y"], "labels": [1, 1]}}, r"mc1_targets has 2 right choices; expected one"),
    ],
)
def test_what_no_choice_fits_is_an_error(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read({**Q, **row})


def test_what_only_looks_like_choices_is_not_taken_for_them() -> None:
    """Options of a call, numbers of a problem, rows without choices among rows with some, and columns left out."""
    assert read({**Q, "options": {"temperature": 0.3}, "answer": "12"})[0].prompt == "Which gas?"
    assert read({**Q, "a": 3, "b": 4, "c": 5, "d": 6, "answer": "12"})[0].answer == "12"
    plain, chosen = read({**Q, "options": [], "answer": "12"}, {**Q, "options": FOUR, "answer": "B"})
    assert (plain.prompt, plain.answer, chosen.prompt) == ("Which gas?", "12", LETTERED)
    assert read({**Q, "choices": FOUR, "answer": "maybe"}, ignored=("choices",))[0].answer == "maybe"
    (example,) = read({**Q, "choices": FOUR})
    assert (example.prompt, example.answer) == (LETTERED, None)
    assert described({**Q, "choices": FOUR}).endswith("answer, a letter: none is named")


@pytest.mark.parametrize("text", ["The answer is B.", r"\boxed{B}", "The answer is (B).", "#### B", "**Answer:** B"])
@pytest.mark.parametrize("name", ["math", "answer"])
def test_the_letter_is_what_rewards_read(name: str, text: str) -> None:
    (example,) = read({**Q, "choices": FOUR, "answer": 1}, {**ZERO})[:1]
    said = [text, text.replace("B", "C")]
    rollouts = [Rollout(Prompt(example, (1,)), (2,), (True,), (-1.0,), each, True, 0) for each in said]
    assert [score.value for score in by_name(name).score(rollouts)] == [1.0, 0.0]
