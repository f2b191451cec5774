"""q, o, y ~ P_prm: solutions that the task's rows carry, and for each of their steps whether it is right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from groupwise.algorithm import Source
from groupwise.errors import AnswerRewritten, UserError
from groupwise.sources.rows import draw_rows, rows_of
from groupwise.sources.world import Draw, World
from groupwise.steps import step_ends
from groupwise.tasks.step_labels import LabelledStep, labelled_steps
from groupwise.types import Example, Group, Rollout, flatten

REWRITTEN = "whose steps the chat template or the tokenizer rewrites (steps that stay as they are are expected)"


@dataclass(frozen=True)
class StepLabels(Source):
    """q, o, y ~ P_prm: a group is the row's solution with its labels as rewards, each at its step's last token.

    The steps and labels stand in the columns ``completions`` and ``labels``: what ``tasks.from_file`` makes of TRL's
    stepwise rows. They say what a step is, whatever ``Task.steps`` says. A label is 0, 1 or the share of both.
    """

    separator: str = "\n"
    """What stands between two steps. The last one is ended as a demonstration is."""
    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of log-probabilities, where an objective reads any."""

    def draw(self, world: World, cursor: int) -> Draw:
        """Groups of one. A row whose steps a tokenizer or chat template rewrites is passed over, ``steps/rewritten``;
        two steps that end in one token are one with the lower label, ``steps/merged``.

        Raises UserError for a row whose labels do not match its steps, where all steps of all rows have one label, and
        where no row can be used.
        """
        if not cursor:
            labels = (step.label for example in rows_of(world) for step in labelled_steps(example.id, example.columns))
            refuse_one_label(labels, world, "rows with right and with wrong steps")
        reader = _Reader(world, self.separator)
        found = draw_rows(world, cursor, reader.rollouts, REWRITTEN)
        metrics = {
            "prompts_too_long": float(found.too_long),
            "steps/rewritten": float(found.without_signal),
            "steps/merged": float(reader.merged),
        }
        return Draw(found.groups, found.cursor, metrics | label_metrics(found.groups))

    def rollouts(self, world: World, example: Example) -> tuple[Rollout, ...]:
        """See ``rows.RowSource``."""
        return _Reader(world, self.separator).rollouts(example)


def label_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """``steps/labelled`` and, where there are any, their mean label as ``steps/right_share``."""
    labels = [label for rollout in flatten(groups) for label in rollout.rewards.values()]
    share = {"steps/right_share": sum(labels) / len(labels)} if labels else {}
    return {"steps/labelled": float(len(labels))} | share


def refuse_one_label(labels: Iterable[float], world: World, expected: str) -> None:
    """Raises UserError where all of them are the same. Reads no further than the first that differs."""
    stream = iter(labels)
    first = next(stream, None)
    if all(label == first for label in stream):
        raise UserError(
            f"{world.stage.name}: every step of {world.stage.task.name} has the label {first}; nothing can be learned "
            f"from that; expected {expected}"
        )


@dataclass
class _Reader:
    """Makes rollouts of rows and keeps count."""

    world: World
    separator: str
    merged: int = field(default=0)

    def rollouts(self, example: Example) -> tuple[Rollout, ...]:
        """One, or none where the steps are not found in what the tokens show."""
        steps = labelled_steps(example.id, example.columns)
        whole = self.separator.join(step.text for step in steps)
        try:
            rollout = self.world.renderer.demonstration(replace(example, completion=whole))
        except AnswerRewritten:
            return ()
        start = rollout.text.find(whole.strip())
        if start < 0:
            return ()
        ends = self._ends(steps, start - (len(whole) - len(whole.lstrip())))
        pieces = self.world.renderer.pieces(rollout.tokens)
        labels: dict[int, float] = {}
        for end, step in zip(ends, steps, strict=True):
            (token,) = step_ends(pieces, (end,))
            labels[token] = min(step.label, labels.get(token, 1.0))
        self.merged += len(steps) - len(labels)
        prompt = replace(rollout.prompt, example=example)
        return (replace(rollout, prompt=prompt, rewards=labels, steps=tuple(labels)),)

    def _ends(self, steps: Sequence[LabelledStep], start: int) -> list[int]:
        """Characters of the whole text up to each step's last visible one."""
        ends = []
        for step in steps:
            ends.append(start + len(step.text.rstrip()))
            start += len(step.text) + len(self.separator)
        return ends
