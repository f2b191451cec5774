"""This source draws q, o+, o-: preference pairs that the task's rows carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from groupwise.algorithm import Algorithm, Source
from groupwise.errors import UserError
from groupwise.sources.draw import DrawContext, Position, RolloutBatch
from groupwise.sources.rows import draw_rows, first_prompt
from groupwise.tasks.messages import completion_of
from groupwise.types import Example, Prompt, Rollout


@dataclass(frozen=True)
class Pairs(Source):
    """This source draws q, o+, o-: a group is the row's chosen, then its rejected completion, each ended as a
    demonstration is.

    Both follow ``Example.prompt`` and stand in the columns ``chosen`` and ``rejected``, as text or as messages: what
    ``tasks.from_file`` makes of preference rows. Of several turns the assistant's are learned, what others say is not.
    """

    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of the log-probabilities that are trained; 1 is the model as it is."""

    def draw(self, context: DrawContext, position: Position) -> RolloutBatch:
        """Draws groups of two. A pair whose sides are the same tokens has no gradient: passed over, ``pairs_equal``.

        Raises UserError for a row that has no pair.
        """
        found = draw_rows(context, position, lambda example: self.rollouts(context, example))
        metrics = {"prompts_too_long": float(found.too_long), "pairs_equal": float(found.without_signal)}
        return RolloutBatch(found.groups, found.position, metrics)

    def uses(self, example: Example) -> bool:
        """Says whether it learns from such a row at all: not from two answers that are equally good."""
        return not example.is_bad

    def rollouts(self, context: DrawContext, example: Example) -> tuple[Rollout, ...]:
        """The group that one row is; none where its sides are equal. Raises UserError for a row without a pair."""
        chosen, rejected = _side(context, example, "chosen"), _side(context, example, "rejected")
        return () if chosen.tokens == rejected.tokens else (chosen, replace(rejected, prompt=chosen.prompt))

    def completions_per_prompt(self) -> int:
        """Says how many completions of a prompt a step learns from."""
        return 2

    def prompt_of(self, context: DrawContext, example: Example) -> Prompt | None:
        """Returns what it makes of a row before anything is sampled; None where it passes the row over. Raises
        UserError for a row that it cannot use."""
        return first_prompt(self.rollouts(context, example))

    def texts_of(self, example: Example) -> Sequence[Example]:
        """Returns the row once for each text of it that is learned as it stands there."""
        sides = [example.columns.get(name) for name in ("chosen", "rejected")]
        return [replace(example, completion=side) for side in sides if isinstance(side, str | tuple)]

    def complaints(self, algorithm: Algorithm) -> Iterator[str]:
        """Yields a sentence for each thing that cannot mean what it says in such an algorithm."""
        if algorithm.advantage.judges():
            yield "preference pairs have no rewards; an objective on pairs takes the advantage Preference()"
        if algorithm.trains_scorer and "step_rewards" in algorithm.objective.needs():
            yield "pairs have no labels, which this objective learns from; BradleyTerry learns from pairs"


def _side(context: DrawContext, example: Example, column: str) -> Rollout:
    if example.columns.get(column) is None:
        seen = ", ".join(example.columns) or "none"
        raise UserError(
            f"{context.name}: row {example.id} has no {column}; expected the columns chosen and rejected, both "
            f"following one prompt; seen: {seen}"
        )
    where = f"{context.name}: row {example.id}: {column}"
    completion = completion_of(example.columns[column], where)
    rollout = context.renderer.demonstration(replace(example, completion=completion))
    return replace(rollout, prompt=replace(rollout.prompt, example=example))
