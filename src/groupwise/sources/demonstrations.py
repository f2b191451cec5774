"""q, o ~ P_sft: completions that the task's rows carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from groupwise.algorithm import Source
from groupwise.errors import UserError
from groupwise.sources.rows import draw_rows
from groupwise.sources.world import Draw, World
from groupwise.types import Example, Rollout


@dataclass(frozen=True)
class Demonstrations(Source):
    """q, o ~ P_sft: completions that the task's rows carry."""

    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of the log-probabilities that are trained; 1 is the model as it is."""

    def draw(self, world: World, cursor: int) -> Draw:
        """Groups of one. Raises UserError for a row without a demonstration."""
        found = draw_rows(world, cursor, lambda example: self.rollouts(world, example))
        return Draw(found.groups, found.cursor, {"prompts_too_long": float(found.too_long)})

    def rollouts(self, world: World, example: Example) -> tuple[Rollout, ...]:
        """See ``rows.RowSource``."""
        return (demonstrated(world, example),)


def demonstrated(world: World, example: Example) -> Rollout:
    """The row's own completion. Raises UserError where it has none."""
    if example.completion is None:
        raise UserError(
            f"{world.stage.name}: row {example.id} has no demonstration; supervised fine-tuning needs a completion "
            "with every prompt (a column such as completion, or messages that end with the assistant)"
        )
    return world.renderer.demonstration(example)
