"""This module reads --ahead and --stream: when the completions of a recipe are drawn."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.algorithm import Source
    from groupwise.runs.recipe import Run
    from groupwise.sources import OnPolicy
    from groupwise.training.stage import Stage

AHEAD = "sample the draw of each step K steps ahead, while the learner works (docs/asynchrony.md)"
STREAM = "sample all the time, groups as they finish, at most K steps behind (docs/asynchrony.md)"


def add_drawing_options(parser: ArgumentParser) -> None:
    """Adds ``--ahead`` and ``--stream``, which say when completions are drawn."""
    parser.add_argument("--ahead", metavar="K", type=int, help=AHEAD)
    parser.add_argument("--stream", metavar="K", type=int, help=STREAM)


def drawn_as_asked(recipe: Run, chosen: Namespace) -> Run:
    """The recipe with the sources of its stages that sample from the policy that learns wrapped as the options say.
    Where completions of earlier weights would have no importance weight, a correction gives them one.

    Raises UserError where no stage samples, for both options at once, and for a number that cannot be.
    """
    if chosen.ahead is None and chosen.stream is None:
        return recipe
    name, steps = ("ahead", chosen.ahead) if chosen.stream is None else ("stream", chosen.stream)
    if None not in (chosen.ahead, chosen.stream):
        raise UserError("--ahead and --stream both say when completions are drawn; expected one of them")
    if steps < 0:
        raise UserError(f"--{name} is {steps}; expected 0 or more steps")
    stages = tuple(_drawn(stage, name, steps) for stage in recipe.stages)
    if stages == recipe.stages:
        names = ", ".join(type(stage.algorithm.source).__name__ for stage in recipe.stages)
        raise UserError(
            f"--{name} {steps}: no stage samples from the policy that learns (its source is {names}); leave it out"
        )
    return replace(recipe, stages=stages)


def _drawn(stage: Stage, name: str, steps: int) -> Stage:
    from groupwise.algorithm import TruncateMismatch
    from groupwise.sources import Ahead, Stream

    algorithm, source = stage.algorithm, stage.algorithm.source
    if source.sampled_by() != "learner" or source.wraps():
        return stage
    wrapped: Source = Ahead(source, steps) if name == "ahead" else Stream(cast("OnPolicy", source), steps)
    weighted = not (wrapped.lag() and algorithm.needs_own_samples)
    correction = algorithm.correction if weighted else TruncateMismatch()
    return replace(stage, algorithm=replace(algorithm, source=wrapped, correction=correction))
