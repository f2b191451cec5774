"""Rows with labelled steps, whichever columns they come in."""

from __future__ import annotations

from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.tasks import from_file, labelled_steps, recognise

REAL = Path(__file__).resolve().parents[2] / "../shared/data"
DATA = REAL / "big-bench-mistake"
GRADED = REAL / "mr-gsm8k" / "mr_gsm8k_subset.jsonl"


def example(row):
    return recognise([("a.jsonl:1", row)]).example("a.jsonl:1", row)


def mistake(at, steps=("one", "two", "three")):
    return {"input": "q", "steps": list(steps), "mistake_index": at, "target": "4"}


def error(at, judged="wrong", steps=("one", "two", "three")):
    return {
        "question": "q",
        "model_output_steps": list(steps),
        "model_output_solution_first_error_step": at,
        "model_output_solution_correctness": judged,
        "ground_truth_answer": 4,
    }


@pytest.mark.parametrize(
    ("at", "labels"), [(None, [True] * 3), (0, [False] * 3), (1, [True, False, False]), (2, [True, True, False])]
)
def test_steps_are_right_up_to_the_first_mistake(at, labels):
    found = example(mistake(at))
    assert (found.prompt, found.completion, found.answer) == ("q", None, "4")
    assert found.columns["completions"] == ["one", "two", "three"]
    assert found.columns["labels"] == labels
    assert found.columns["mistake_index"] == at


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        (error(1), [False] * 3),
        (error(3), [True, True, False]),
        (error("N/A", "correct"), [True] * 3),
        (error(None, "correct"), [True] * 3),
    ],
)
def test_the_first_error_step_counts_from_1(row, labels):
    found = example(row)
    assert (found.prompt, found.completion, found.answer) == ("q", None, "4")
    assert found.columns["completions"] == ["one", "two", "three"]
    assert found.columns["labels"] == labels


def test_labels_may_be_shares():
    row = {"prompt": "q", "completions": ["a", "b", "c", "d"], "labels": [True, 0, 1, 0.25]}
    assert labelled_steps("id", example(row).columns) == (("a", 1.0), ("b", 0.0), ("c", 1.0), ("d", 0.25))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (mistake(3), "a.jsonl:1: mistake_index is int '3'; expected null or 0 .. 2"),
        (mistake(-1), "a.jsonl:1: mistake_index is int '-1'"),
        (mistake(True), "a.jsonl:1: mistake_index is bool 'True'"),
        (mistake(0, ["a", ""]), "a.jsonl:1: completions[1] is empty"),
        (mistake(None, []), "a.jsonl:1: completions is empty list"),
        (mistake(0) | {"steps": "a"}, "a.jsonl:1: steps is str 'a'; expected a list of steps"),
        (error(0), "a.jsonl:1: model_output_solution_first_error_step is int '0'; expected 1 .. 3, or N/A where"),
        (error(4), "a.jsonl:1: model_output_solution_first_error_step is int '4'"),
        (error("N/A"), "a.jsonl:1: model_output_solution_first_error_step is str 'N/A'"),
        (error(1, steps=["", "b"]), "a.jsonl:1: completions[0] is empty"),
        (error(1, steps=[]), "a.jsonl:1: model_output_solution_first_error_step is int '1'; expected 1 .. 0"),
        (error(1) | {"model_output_steps": "a"}, "a.jsonl:1: model_output_steps is str 'a'; expected a list of steps"),
        ({"prompt": "q", "completions": ["a"], "labels": [1.5]}, "a.jsonl:1: labels[0] is float '1.5'"),
        ({"prompt": "q", "completions": ["a"], "labels": 1}, "a.jsonl:1: labels is int '1' for 1 step;"),
    ],
)
def test_what_a_row_breaks_is_said(row, message):
    with pytest.raises(UserError) as caught:
        example(row)
    assert message in str(caught.value)


@pytest.mark.skipif(not DATA.exists(), reason="the real step labels are not here")
@pytest.mark.parametrize(
    ("name", "without_mistake"),
    [("logical_deduction", 6), ("multistep_arithmetic", 62), ("tracking_shuffled_objects", 40), ("word_sorting", 34)],
)
def test_the_real_set(name, without_mistake):
    task = from_file(DATA / f"{name}.jsonl", held_out_fraction=0.0)
    assert len(task.train) == 300
    rows = [labelled_steps(row.id, row.columns) for row in task.train]
    assert sum(all(step.label for step in steps) for steps in rows) == without_mistake
    for row, steps in zip(task.train, rows, strict=True):
        assert [step.text for step in steps] == row.columns["steps"]
        labels = [step.label for step in steps]
        assert labels == sorted(labels, reverse=True)
        assert sum(labels) == (row.columns["mistake_index"] if row.columns["mistake_index"] is not None else len(steps))


@pytest.mark.skipif(not GRADED.exists(), reason="the real step labels are not here")
def test_the_real_set_of_first_errors():
    task = from_file(GRADED, held_out_fraction=0.0)
    assert len(task.train) == 590
    for row in task.train:
        labels = [step.label for step in labelled_steps(row.id, row.columns)]
        assert sum(labels) == row.columns["model_output_solution_first_error_step"] - 1 < len(labels)
