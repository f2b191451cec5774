"""This source draws q, o ~ P_sft: completions that the task's rows carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from groupwise.algorithm import Algorithm, Source
from groupwise.errors import UserError
from groupwise.sources.draw import DrawContext, Position, RolloutBatch
from groupwise.sources.rows import draw_rows
from groupwise.types import Example, Prompt, Rollout


@dataclass(frozen=True)
class Demonstrations(Source):
    """This source draws q, o ~ P_sft: completions that the task's rows carry."""

    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of the log-probabilities that are trained; 1 is the model as it is."""

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Draws groups of one. Raises UserError for a row without a demonstration."""
        found = draw_rows(context, position, lambda example: self.rollouts(context, example))
        return RolloutBatch(found.groups, found.position, {"prompts_too_long": float(found.too_long)})

    def rollouts(self, context: DrawContext, example: Example) -> tuple[Rollout, ...]:
        """Returns the group that one row is. Raises UserError for a row without a demonstration."""
        return (demonstrated(context, example),)

    def uses(self, example: Example) -> bool:
        """Says whether it learns from such a row at all."""
        return not example.is_bad

    def prompt_of(self, context: DrawContext, example: Example) -> Prompt | None:
        """Returns what it makes of a row before anything is sampled; None where it passes the row over. Raises
        UserError for a row that it cannot use."""
        return demonstrated(context, example).prompt

    def texts_of(self, example: Example) -> Sequence[Example]:
        """Returns the row once for each text of it that is learned as it stands there."""
        return [example]

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        if algorithm.advantage.compares() or algorithm.advantage.judges():
            yield "demonstrations have no rewards and no group, so this advantage has nothing to compare"
        if algorithm.trains_scorer:
            yield "demonstrations have neither a better one nor a label, and a scorer learns from one of them"


def demonstrated(context: DrawContext, example: Example) -> Rollout:
    """Returns the row's own completion. Raises UserError where it has none."""
    if example.completion is None:
        raise UserError(
            f"{context.name}: row {example.id} has no demonstration; supervised fine-tuning needs a completion "
            "with every prompt (a column such as completion, or messages that end with the assistant)"
        )
    return context.renderer.demonstration(example)
