"""q, o+, o-: preference pairs that the task's rows carry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from groupwise.algorithm import Source
from groupwise.errors import UserError
from groupwise.sources.rows import draw_rows
from groupwise.sources.world import Draw, World
from groupwise.tasks.messages import completion_of
from groupwise.types import Example, Rollout


@dataclass(frozen=True)
class Pairs(Source):
    """q, o+, o-: a group is the row's chosen, then its rejected completion, each ended as a demonstration is.

    Both follow ``Example.prompt`` and stand in the columns ``chosen`` and ``rejected``, as text or as messages: what
    ``tasks.from_file`` makes of preference rows. Of several turns the assistant's are learned, what others say is not.
    """

    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of the log-probabilities that are trained; 1 is the model as it is."""

    def draw(self, world: World, cursor: int) -> Draw:
        """Groups of two. A pair whose sides are the same tokens has no gradient: passed over, ``pairs_equal``.

        Raises UserError for a row that has no pair.
        """
        found = draw_rows(world, cursor, lambda example: self.rollouts(world, example))
        metrics = {"prompts_too_long": float(found.too_long), "pairs_equal": float(found.without_signal)}
        return Draw(found.groups, found.cursor, metrics)

    def rollouts(self, world: World, example: Example) -> tuple[Rollout, ...]:
        """See ``rows.RowSource``."""
        chosen, rejected = _side(world, example, "chosen"), _side(world, example, "rejected")
        return () if chosen.tokens == rejected.tokens else (chosen, replace(rejected, prompt=chosen.prompt))


def _side(world: World, example: Example, column: str) -> Rollout:
    if example.columns.get(column) is None:
        seen = ", ".join(example.columns) or "none"
        raise UserError(
            f"{world.stage.name}: row {example.id} has no {column}; expected the columns chosen and rejected, both "
            f"following one prompt; seen: {seen}"
        )
    where = f"{world.stage.name}: row {example.id}: {column}"
    completion = completion_of(example.columns[column], where)
    rollout = world.renderer.demonstration(replace(example, completion=completion))
    return replace(rollout, prompt=replace(rollout.prompt, example=example))
