"""This module reads outputs that somebody has graded already: a column with a model's answer and one that says whether
it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.types import Example

OUTPUTS = ("model_output", "model_output_steps", "output", "generation", "response", "completion", "solution", "steps")
LABELS = ("is_correct", "correct", "label", "model_output_answer_correctness", "correctness")
"""Names of columns, the first that is there counts."""

VERDICTS = {"true": True, "correct": True, "right": True, "yes": True, "1": True, "1.0": True} | {
    "false": False, "incorrect": False, "wrong": False, "no": False, "0": False, "0.0": False,
}  # fmt: skip


@dataclass(frozen=True)
class GradedOutput:
    """This is one output and its grade."""

    example: Example
    text: str
    right: bool
    source: str
    """The column it came from."""


def graded_outputs(
    examples: Sequence[Example], output: str | None = None, label: str | None = None
) -> list[GradedOutput]:
    """Returns all graded outputs of the rows, in order; none where there are no such columns.

    A row holds one (``output`` and ``label`` in columns of its own) or several (columns that are objects with both, as
    in OpenAI's sampled GSM8K solutions). An output is text or a list of steps. Raises UserError where a named column is
    missing, and for a grade that says neither right nor wrong.
    """
    found: list[GradedOutput] = []
    for example in examples:
        columns = example.columns
        parts = {"": columns} | {name: value for name, value in columns.items() if isinstance(value, Mapping)}
        here = [graded for name, part in parts.items() if (graded := _graded(example, name, part, output, label))]
        if (output or label) and not here:
            raise UserError(
                f"{example.id}: no column {output or 'for an output'} with {label or 'a label'}; seen: "
                f"{', '.join(columns)}"
            )
        found += here
    return found


def _graded(
    example: Example, name: str, part: Mapping[str, Any], output: str | None, label: str | None
) -> GradedOutput | None:
    said, grade = _column(part, OUTPUTS, output), _column(part, LABELS, label)
    if said is None or grade is None or part[said] is None or part[grade] is None:
        return None
    value = part[said]
    text = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
    right = VERDICTS.get(str(part[grade]).strip().lower())
    if right is None:
        raise UserError(
            f"{example.id}: {grade} is {str(part[grade])[:40]!r}; expected true or false, 1 or 0, correct or incorrect"
        )
    return GradedOutput(example, text, right, name or said)


def _column(part: Mapping[str, Any], names: Sequence[str], named: str | None) -> str | None:
    return next((name for name in ((named,) if named else names) if name in part), None)
