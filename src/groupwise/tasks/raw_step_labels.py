"""This module reads step labels as their publishers wrote them: Math-Shepherd's marks and PRM800K's ratings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.columns import Columns
from groupwise.tasks.golds import answer_of
from groupwise.tasks.messages import prompt_of
from groupwise.tasks.step_labels import LABELS, STEPS, labelled_steps
from groupwise.tasks.values import cell, shown, text_of
from groupwise.types import Example
from groupwise.values.spelled import structure_of

STEP_END = "ки"
"""Ends every step of Math-Shepherd's ``input``; in ``label`` ``+`` or ``-`` stands in its place."""
LOOKED_AT = 20
_FIRST_STEP = re.compile(r"\bStep 1\s{0,4}:")


@dataclass(frozen=True)
class MarkedSteps:
    """This convention is Math-Shepherd's (arXiv 2312.08935): a question and its steps in one text, each ended by a sign
    that the column ``label`` has as ``+`` or ``-``."""

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        return "Math-Shepherd: input up to Step 1, its steps, right where label has +"

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        return ("input", "label")

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Returns a row as an example. Raises UserError for a value that cannot be read."""
        text, label = (text_of(cell(id, row, name), f"{id}: {name}") for name in self.used)
        begin = _FIRST_STEP.search(text)
        if begin is None or not begin.start():
            raise UserError(f"{id}: input has no Step 1 behind a question; expected Math-Shepherd's steps")
        steps = [part.strip() for part in text[begin.start() :].split(STEP_END)]
        end = -len(STEP_END) if not steps[-1] else None
        steps = steps[:-1] if not steps[-1] else steps
        signs = _signs(text, label, end)
        if len(signs) < len(steps):
            raise UserError(f"{id}: label has {len(signs)} of + and - for {len(steps)} steps; expected one a step")
        columns = {**row, STEPS: steps, LABELS: [sign == "+" for sign in signs[: len(steps)]]}
        labelled_steps(id, columns)
        return Example(id, prompt_of(text[: begin.start()].rstrip(), f"{id}: input"), columns=columns)


def _signs(text: str, label: str, end: int | None) -> list[str]:
    """What stands in ``label`` where ``text`` has the signs: both are the same otherwise."""
    found, place = [], 0
    for part in text.split(STEP_END)[:-1] if end else text.split(STEP_END):
        place += len(part)
        found.append(label[place : place + 1])
        place += 1
    return [sign for sign in found if sign in ("+", "-")]


@dataclass(frozen=True)
class RatedSteps:
    """This convention is PRM800K's (arXiv 2305.20050): a problem, and for each step the candidates with their ratings.

    A row is one attempt: of each step the chosen candidate, at the end the first where none was chosen. Rated 0 or 1 a
    step is right, as in the paper; one that people wrote themselves is right, too.
    """

    @property
    def description(self) -> str:
        """Says how rows are read, for the run's first lines."""
        return "PRM800K: question.problem, the chosen steps of label, right where rated 0 or 1"

    @property
    def used(self) -> tuple[str, ...]:
        """Names the columns that are read."""
        return ("question", "label")

    def example(self, id: str, row: Mapping[str, Any]) -> Example:
        """Returns a row as an example. Raises UserError for a value that cannot be read."""
        question, label = (structure_of(cell(id, row, name)) for name in self.used)
        listed = label.get("steps") if isinstance(label, Mapping) else None
        if not isinstance(question, Mapping) or not isinstance(listed, list | tuple):
            raise UserError(f"{id}: label is {shown(label)}; expected an object with steps")
        steps: list[Any] = []
        labels: list[bool] = []
        for place, step in enumerate(listed):
            text, is_right = _candidate(step, f"{id}: label.steps[{place}]")
            steps.append(text)
            labels.append(is_right)
        columns = {**row, STEPS: steps, LABELS: labels}
        labelled_steps(id, columns)
        gold = question.get("ground_truth_answer")
        answer = None if gold is None else answer_of(gold, f"{id}: question.ground_truth_answer")
        return Example(
            id, prompt_of(question.get("problem"), f"{id}: question.problem"), answer=answer, columns=columns
        )


def _candidate(step: Any, where: str) -> tuple[Any, bool]:
    """The candidate of a step that the attempt goes on with, and whether it is right."""
    written = step.get("human_completion") if isinstance(step, Mapping) else None
    if written:
        return (written.get("text") if isinstance(written, Mapping) else written), True
    found = step.get("completions") if isinstance(step, Mapping) else None
    if not isinstance(found, list | tuple) or not all(isinstance(one, Mapping) for one in found) or not found:
        raise UserError(f"{where} is {shown(step)}; expected completions with text and rating")
    chosen = step.get("chosen_completion")
    one = found[chosen if isinstance(chosen, int) and 0 <= chosen < len(found) else 0]
    rating = one.get("rating")
    if rating not in (-1, 0, 1):
        raise UserError(f"{where}: rating is {shown(rating)}; expected -1, 0 or 1")
    return one.get("text"), rating >= 0


def raw_step_labels(rows: Sequence[tuple[str, Mapping[str, Any]]], seen: Columns) -> MarkedSteps | RatedSteps | None:
    """Returns the convention of rows in a publisher's own shape; None of others, and of columns with these names whose
    first rows hold something else, such as the label of a class."""
    first = [row for _, row in rows[:LOOKED_AT]]
    if seen.all_of(("input", "label", "task")) and any(STEP_END in str(row.get("input")) for row in first):
        return MarkedSteps()
    rated = seen.all_of(("question", "label", "labeler"))
    return RatedSteps() if rated and any(_has_steps(row.get("label")) for row in first) else None


def _has_steps(label: Any) -> bool:
    label = structure_of(label)
    return isinstance(label, Mapping) and "steps" in label
