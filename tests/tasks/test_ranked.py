"""Rows of several judged answers, and step labels as their publishers wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from groupwise import recipes
from groupwise.errors import UserError
from groupwise.tasks import from_file
from groupwise.tasks.step_labels import labelled_steps
from groupwise.types import Example

Row = Mapping[str, Any]
SAID = [{"role": "user", "content": "2+2?"}]
NECTAR = [{"answer": "5", "rank": 2.0}, {"answer": "4", "rank": 1}, {"answer": "6", "rank": 3}]


def read(path: Path, *rows: Row) -> Sequence[Example]:
    file = path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return from_file(file, (), held_out_fraction=0).train


def turn(text: str) -> list[dict[str, str]]:
    return [*SAID, {"role": "assistant", "content": text}]


def rated(name: str, **ratings: float) -> list[Row]:
    return [{"response": text.strip("_"), name: rating} for text, rating in ratings.items()]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2+2?", "answers": NECTAR},
        {"instruction": "2+2?", "completions": rated("overall_score", _6=1, _4=9.5)},
        {"instruction": "2+2?", "completions": rated("fine-grained_score", _4=5, _6=1)},
        {"prompt": "2+2?", "responses": ["5", "4", "6"], "ranks": [2, 1, 3]},
        {"question": "2+2?", "responses": ["5", "4", "6"], "scores": [0.5, 0.9, -1]},
        {"prompt": "2+2?", "responses": json.dumps(["4", "6"]), "rewards": "[1, 0]"},
        {"prompt": "2+2?", "response_0": "6", "response_1": "4", "better_response_id": 1},
        {"prompt": "2+2?", "response_a": "4", "response_b": "6", "winner_model_a": 1, "winner_model_b": 0},
        {"prompt": "2+2?", "response_a": "6", "response_b": "4", "winner": "model_b"},
        {"conversation_a": turn("4"), "conversation_b": turn("6"), "winner": "model_a"},
        {"prompt": "2+2?", "response_1": "4", "response_2": "6", "preference_strength": "-2"},
        {"prompt": "2+2?", "responses": "['6', '4']", "scores": "[-1, 0.5]"},
        {"question": "2+2?", "answers": [{"text": "4", "pm_score": 3}, {"text": "6", "pm_score": 0}]},
        {"context": SAID, "response1": "6", "response2": "4", "overall_preference": 2},
        {"question": {"full_text": "2+2?"}, "answer_0": "4", "answer_1": "6", "score_0": 0.5, "score_1": -0.5},
        {"history": "2+2?", "human_ref_A": "6", "human_ref_B": "4", "labels": 0},
        {"question": "2+2?", "response_j": "4", "response_k": "6"},
    ],
)
def test_the_best_is_chosen_and_the_worst_rejected(tmp_path: Path, row: Row) -> None:
    (found,) = read(tmp_path, row)
    assert found.prompt in ("2+2?", tuple(SAID))
    assert (found.columns["chosen"], found.columns["rejected"], found.completion) == ("4", "6", "4")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2+2?", "responses": ["5", "4"], "scores": [1, 1]},
        {"prompt": "2+2?", "response_a": "5", "response_b": "4", "winner": "tie (bothbad)"},
        {"context": SAID, "response1": "5", "response2": "4", "overall_preference": 0},
    ],
)
def test_equals_are_no_pair_to_learn_from(tmp_path: Path, row: Row) -> None:
    (found,) = read(tmp_path, row)
    assert found.is_bad
    assert found.completion is None
    assert not recipes.dpo.source.uses(found)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2+2?", "answers": ["4"], "answer": "4"},
        {"instruction": "2+2?", "completions": "x", "answer": "4"},
        {"question": "2+2?", "responses": "4", "scores": "x", "answer": "4"},
        {"prompt": "2+2?", "responses": ["5", "4"], "scores": [0, 1], "answer": "4"},
        {"question": "2+2?", "answers": ["four", "4"], "ratings": [0, 1], "ground_truth": "4"},
        {"prompt": "2+2?", "responses": ["5"], "scores": [1], "answer": "4"},
        {"input": "2+2?", "label": True, "task": "sums", "output": "4"},
        {"question": "2+2?", "label": True, "labeler": "Ann", "answer": "4"},
        {"prompt": "2+2?", "answer": "4", "parent_id": "1", "role": "x", "text": "y"},
    ],
)
def test_columns_of_those_names_that_hold_something_else_are_read_as_ever(tmp_path: Path, row: Row) -> None:
    (found,) = read(tmp_path, row)
    assert found.answer == "4"


def test_a_row_that_says_no_number_is_named(tmp_path: Path) -> None:
    good = {"prompt": "a", "responses": ["5", "4"], "scores": [1, 0]}
    for bad in ({"scores": [1]}, {"scores": [1, "x"]}, {"responses": []}, {"scores": [1, None]}):
        with pytest.raises(UserError, match=r"rows\.jsonl:2"):
            read(tmp_path, good, good | bad)


def test_a_message_of_a_tree_is_no_document(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one message of a tree"):
        read(tmp_path, {"message_id": "a", "parent_id": None, "text": "hello", "role": "prompter"})


def test_capybaras_turns_are_messages(tmp_path: Path) -> None:
    turns = [{"input": "hi", "output": "ho"}, {"input": "2+2?", "output": "4"}]
    (found,) = read(tmp_path, {"source": "x", "conversation": turns})
    assert found.completion == "4"
    assert [message["content"] for message in found.prompt] == ["hi", "ho", "2+2?"]  # type: ignore[index]


def test_messages_with_fields_of_other_names_stay_messages(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "2+2?", "input": "", "output": "x"}]
    (found,) = read(tmp_path, {"conversation": said, "parent_id": "1", "role": "x", "text": "y"})
    assert [message["content"] for message in found.prompt] == ["2+2?"]  # type: ignore[index]


def test_math_shepherds_marks_are_labels(tmp_path: Path) -> None:
    said = "2-2? Step 1: We take 2-2. \u043a\u0438\nStep 2: The answer is: -0 \u043a\u0438"
    marks = "2-2? Step 1: We take 2-2. +\nStep 2: The answer is: -0 -"
    (found,) = read(tmp_path, {"input": said, "label": marks, "task": "GSM8K"})
    assert found.prompt == "2-2?"
    assert found.columns["completions"] == ["Step 1: We take 2-2.", "Step 2: The answer is: -0"]
    assert found.columns["labels"] == [True, False]
    with pytest.raises(UserError, match="label has 1 of"):
        read(tmp_path, {"input": said, "label": marks[:40], "task": "GSM8K"})


def step(*rated: tuple[str, int], chosen: int | None = 0, written: Any = None) -> Row:
    said = [{"text": text, "rating": rating} for text, rating in rated]
    return {"completions": said, "chosen_completion": chosen, "human_completion": written}


def test_prm800ks_chosen_steps_are_an_attempt(tmp_path: Path) -> None:
    steps = [step(("x", -1), ("We add.", 1), chosen=1), step(chosen=None, written={"text": "So"})]
    steps += [step(("5", -1), chosen=None)]
    row = {"labeler": "l", "question": {"problem": "2+2?", "ground_truth_answer": "4"}, "label": {"steps": steps}}
    (found,) = read(tmp_path, row)
    assert (found.prompt, found.answer) == ("2+2?", "4")
    assert found.columns["completions"] == ["We add.", "So", "5"]
    assert found.columns["labels"] == [True, True, False]
    with pytest.raises(UserError, match="rating is int"):
        read(tmp_path, {**row, "label": {"steps": [step(("x", 7))]}})


def test_signs_are_labels(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"prompt": "2+2?", "completions": ["a", "b"], "labels": ["+", "-"]})
    assert [one.label for one in labelled_steps("row", found.columns)] == [1.0, 0.0]


def test_a_row_whose_answers_are_both_bad_is_none_to_learn_from(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"conversation_a": turn("5"), "conversation_b": turn("6"), "winner": "both_bad"})
    assert found.is_bad
    assert found.completion is None


def test_answers_with_scores_say_that_they_are_read_as_a_pair_and_what_else_they_may_be(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"question": "Where?", "answers": ["Rome", "Bonn"], "scores": [0.9, 0.1]}), "utf-8")
    task = from_file(file, held_out_fraction=0)
    assert "a pair; prompt: question (where answers are all right, name it as answer_column)" in task.source
    (found,) = from_file(file, held_out_fraction=0, answer_column="answers", structured_answers="any").train
    assert (found.answer, found.alternatives) == ("Rome", ("Bonn",))


def test_several_rejected_answers_are_one_line_that_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rejected lists 2 answers; expected one: write a row for each pair"):
        read(tmp_path, {"prompt": "2+2?", "chosen": ["4"], "rejected": ["5", "6"]})
    (found,) = read(tmp_path, {"prompt": "2+2?", "chosen": ["4"], "rejected": ["5"]})
    assert (found.columns["chosen"], found.columns["rejected"]) == ("4", "5")
