"""This module reads --ahead: when the completions of a recipe are drawn."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.runs.recipe import Run
    from groupwise.training.stage import Stage

AHEAD = "sample the draw of each step K steps ahead, while the learner works"


def add_drawing_options(parser: ArgumentParser) -> None:
    """Adds the option."""
    parser.add_argument("--ahead", metavar="K", type=int, help=AHEAD)


def drawn_as_asked(recipe: Run, chosen: Namespace) -> Run:
    """The recipe with the sources of its stages that sample from the policy that learns wrapped as the option says.
    Where completions of earlier weights would have no importance weight, a correction gives them one.

    Raises UserError where no stage samples, and for a number that cannot be.
    """
    steps = chosen.ahead
    if steps is None:
        return recipe
    if steps < 0:
        raise UserError(f"--ahead is {steps}; expected 0 or more steps")
    stages = tuple(_drawn(stage, steps) for stage in recipe.stages)
    if stages == recipe.stages:
        names = ", ".join(type(stage.algorithm.source).__name__ for stage in recipe.stages)
        raise UserError(
            f"--ahead {steps}: no stage samples from the policy that learns (its source is {names}); leave it out"
        )
    return replace(recipe, stages=stages)


def _drawn(stage: Stage, steps: int) -> Stage:
    from groupwise.algorithm import TruncateMismatch
    from groupwise.sources import Ahead

    algorithm, source = stage.algorithm, stage.algorithm.source
    if source.sampled_by() != "learner" or source.wraps():
        return stage
    wrapped = Ahead(source, steps)
    weighted = not (wrapped.lag() and algorithm.needs_own_samples)
    correction = algorithm.correction if weighted else TruncateMismatch()
    return replace(stage, algorithm=replace(algorithm, source=wrapped, correction=correction))
