"""This module reads rows that say of each step of one attempt whether it is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.tasks.golds import answer_of
from groupwise.tasks.messages import prompt_of
from groupwise.tasks.values import cell, place_of, shown, text_of
from groupwise.types import Example
from groupwise.values.spelled import structure_of

STEPS, LABELS = "completions", "labels"
"""The columns of TRL's stepwise supervision: what every convention here leaves in ``Example.columns``."""


FIRST_ERROR = "model_output_solution_first_error_step"


_SIGNS = {"+": 1, "-": 0}


class LabelledStep(NamedTuple):
    """A step as it was written, and the probability that it is right: 0, 1 or a share."""

    text: str
    label: float


def labelled_steps(id: str, row: Mapping[str, Any]) -> tuple[LabelledStep, ...]:
    """The row's steps, at least one.

    Raises UserError, naming the row, for an empty step, for other numbers of steps and labels, and for a label that is
    neither true, false nor a number in 0 .. 1.
    """
    steps, labels = structure_of(cell(id, row, STEPS)), structure_of(cell(id, row, LABELS))
    if not isinstance(steps, list | tuple) or not steps:
        raise UserError(f"{id}: {STEPS} is {shown(steps)}; expected a list of steps")
    if not isinstance(labels, list | tuple) or len(labels) != len(steps):
        seen = f"{counted(len(labels), 'label')}" if isinstance(labels, list | tuple) else f"labels is {shown(labels)}"
        raise UserError(f"{id}: {seen} for {counted(len(steps), 'step')}; expected one a step")
    labels = [_SIGNS.get(label, label) if isinstance(label, str) else label for label in labels]
    for index, label in enumerate(labels):
        if not isinstance(label, int | float) or not 0 <= label <= 1:
            raise UserError(f"{id}: {LABELS}[{index}] is {shown(label)}; expected true, false or a number in 0 .. 1")
    texts = [text_of(step, f"{id}: {STEPS}[{index}]") for index, step in enumerate(steps)]
    return tuple(LabelledStep(text, float(label)) for text, label in zip(texts, labels, strict=True))


@dataclass(frozen=True)
class Stepwise:
    """This convention is TRL's for stepwise supervision: the steps of one attempt and whether each is right."""

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        return "TRL stepwise supervision: prompt, completions, labels"

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        return ("prompt", STEPS, LABELS)

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Returns a row as an example. Raises UserError for a value that cannot be read."""
        labelled_steps(id, row)
        return Example(id, prompt_of(cell(id, row, "prompt"), f"{id}: prompt"), columns=dict(row))


@dataclass(frozen=True)
class FirstMistake:
    """This convention is that of BIG-Bench Mistake (arXiv 2311.08516): the steps of one attempt and the 0-based first
    wrong one, or null.

    A step before it is right; from it on none is.
    """

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        return "BIG-Bench Mistake: input, steps, right before mistake_index; answer: target"

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        return ("input", "steps", "mistake_index", "target")

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Returns a row as an example. Raises UserError for a value that cannot be read."""
        steps, mistake = structure_of(cell(id, row, "steps")), place_of(cell(id, row, "mistake_index"))
        if not isinstance(steps, list):
            raise UserError(f"{id}: steps is {shown(steps)}; expected a list of steps")
        if mistake is not None and (type(mistake) is not int or not 0 <= mistake < len(steps)):
            raise UserError(f"{id}: mistake_index is {shown(mistake)}; expected null or 0 .. {len(steps) - 1}")
        right = len(steps) if mistake is None else mistake
        columns = {**row, STEPS: steps, LABELS: [place < right for place in range(len(steps))]}
        labelled_steps(id, columns)
        answer = None if row.get("target") is None else answer_of(row["target"], f"{id}: target")
        return Example(id, prompt_of(cell(id, row, "input"), f"{id}: input"), answer=answer, columns=columns)


@dataclass(frozen=True)
class FirstErrorStep:
    """This convention is that of MR-GSM8K (arXiv 2312.17080): the steps of one attempt and the 1-based first wrong one,
    or ``N/A``.

    A step before it is right; from it on none is. A solution judged correct has none, and all its steps are right.
    """

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        return (
            "MR-GSM8K: question, model_output_steps, right before model_output_solution_first_error_step; "
            "answer: ground_truth_answer"
        )

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        return ("question", "model_output_steps", FIRST_ERROR, "ground_truth_answer")

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Returns a row as an example. Raises UserError for a value that cannot be read."""
        steps, first = structure_of(cell(id, row, "model_output_steps")), place_of(cell(id, row, FIRST_ERROR))
        if not isinstance(steps, list):
            raise UserError(f"{id}: model_output_steps is {shown(steps)}; expected a list of steps")
        whole = first in (None, "", "N/A") and row.get("model_output_solution_correctness") == "correct"
        if not whole and (type(first) is not int or not 1 <= first <= len(steps)):
            raise UserError(
                f"{id}: {FIRST_ERROR} is {shown(first)}; expected 1 .. {len(steps)}, or N/A where "
                "model_output_solution_correctness is correct"
            )
        right = len(steps) if whole else first - 1
        columns = {**row, STEPS: steps, LABELS: [place < right for place in range(len(steps))]}
        labelled_steps(id, columns)
        gold = row.get("ground_truth_answer")
        answer = None if gold is None else answer_of(gold, f"{id}: ground_truth_answer")
        return Example(id, prompt_of(cell(id, row, "question"), f"{id}: question"), answer=answer, columns=columns)
