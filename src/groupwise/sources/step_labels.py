"""This source draws q, o, y ~ P_prm: solutions that the task's rows carry, and for each of their steps whether it is
right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from groupwise.algorithm import Algorithm, Source
from groupwise.errors import AnswerRewritten, UserError
from groupwise.sources.draw import DrawContext, Position, RolloutBatch, prompts_taken
from groupwise.sources.rows import draw_rows, first_prompt, rows_of
from groupwise.tasks.step_labels import LabelledStep, labelled_steps
from groupwise.tokens.segmentation import step_ends
from groupwise.types import Example, Group, Prompt, Rollout, flatten

REWRITTEN = "whose steps the chat template or the tokenizer rewrites (steps that stay as they are are expected)"


ALONE = "labelled solutions stand alone and make no pair; StepCrossEntropy learns from their labels"
"""Of a source of labelled solutions where the objective joins a group."""


@dataclass(frozen=True)
class StepLabels(Source):
    """This source draws q, o, y ~ P_prm: a group is the row's solution with its labels as rewards, each at its step's
    last token.

    The steps and labels stand in the columns ``completions`` and ``labels``: what ``tasks.from_file`` makes of TRL's
    stepwise rows. They say what a step is, whatever ``Task.steps`` says. A label is 0, 1 or the share of both.
    """

    separator: str = "\n"
    """What stands between two steps. The last one is ended as a demonstration is."""
    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of log-probabilities, where an objective reads any."""

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Draws groups of one. A row whose steps a tokenizer or chat template rewrites is passed over,
        ``steps/rewritten``; two steps that end in one token are one with the lower label, ``steps/merged``.

        Raises UserError for a row whose labels do not match its steps, where all steps of all rows have one label, and
        where no row can be used.
        """
        if not prompts_taken(position):
            labels = (
                step.label for example in rows_of(context) for step in labelled_steps(example.id, example.columns)
            )
            refuse_one_label(labels, context, "rows with right and with wrong steps")
        reader = _Reader(context, self.separator)
        found = draw_rows(context, position, reader.rollouts, REWRITTEN)
        metrics = {
            "prompts_too_long": float(found.too_long),
            "steps/rewritten": float(found.without_signal),
            "steps/merged": float(reader.merged),
        }
        return RolloutBatch(found.groups, found.position, metrics | label_metrics(found.groups))

    def rollouts(self, context: DrawContext, example: Example) -> tuple[Rollout, ...]:
        """Returns the group that one row is; none where its steps are rewritten."""
        return _Reader(context, self.separator).rollouts(example)

    def prompt_of(self, context: DrawContext, example: Example) -> Prompt | None:
        """Returns what it makes of a row before anything is sampled; None where it passes the row over. Raises
        UserError for a row that it cannot use."""
        return first_prompt(self.rollouts(context, example))

    def labels_steps(self) -> bool:
        """Says whether its rewards are labels of steps."""
        return True

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        if algorithm.trains_scorer and algorithm.objective.joins_group():
            yield ALONE


def label_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Returns ``steps/labelled`` and, where there are any, their mean label as ``steps/right_share``."""
    labels = [label for rollout in flatten(groups) for label in rollout.rewards.values()]
    share = {"steps/right_share": sum(labels) / len(labels)} if labels else {}
    return {"steps/labelled": float(len(labels))} | share


def refuse_one_label(labels: Iterable[float], context: DrawContext, expected: str) -> None:
    """Raises UserError where all of them are the same. Reads no further than the first that differs."""
    stream = iter(labels)
    first = next(stream, None)
    if all(label == first for label in stream):
        raise UserError(
            f"{context.name}: every step of {context.task.name} has the label {first}; nothing can be learned "
            f"from that; expected {expected}"
        )


@dataclass
class _Reader:
    """Makes rollouts of rows and keeps count."""

    context: DrawContext
    separator: str
    merged: int = field(default=0)

    def rollouts(self, example: Example) -> tuple[Rollout, ...]:
        """Returns one, or none where the steps are not found in what the tokens show."""
        steps = labelled_steps(example.id, example.columns)
        whole = self.separator.join(step.text for step in steps)
        try:
            rollout = self.context.renderer.demonstration(replace(example, completion=whole))
        except AnswerRewritten:
            return ()
        start = rollout.text.find(whole.strip())
        if start < 0:
            return ()
        ends = self._ends(steps, start - (len(whole) - len(whole.lstrip())))
        pieces = self.context.renderer.pieces(rollout.tokens)
        labels: dict[int, float] = {}
        for end, step in zip(ends, steps, strict=True):
            (token,) = step_ends(pieces, (end,))
            labels[token] = min(step.label, labels.get(token, 1.0))
        self.merged += len(steps) - len(labels)
        prompt = replace(rollout.prompt, example=example)
        return (replace(rollout, prompt=prompt, rewards=labels, steps=tuple(labels)),)

    def _ends(self, steps: Sequence[LabelledStep], start: int) -> list[int]:
        """Counts the characters of the whole text up to each step's last visible one."""
        ends = []
        for step in steps:
            ends.append(start + len(step.text.rstrip()))
            start += len(step.text) + len(self.separator)
        return ends
