"""This module reads --processes: how many processes of this machine train together."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.runs.recipe import Run

HELP = "train by so many processes of this machine, each with its part of every parameter (FSDP2)"


def add_process_option(parser: ArgumentParser) -> None:
    """Adds the option."""
    parser.add_argument("--processes", metavar="N", type=int, help=HELP)


def with_processes(recipe: Run, chosen: Namespace) -> Run:
    """The recipe with a learner of so many processes and the options of its own; of one process as it is.

    Raises UserError for a number below 1.
    """
    from groupwise.learners import FSDP

    asked: int | None = chosen.processes
    if asked is None or asked == 1:
        return recipe
    if asked < 1:
        raise UserError(f"--processes is {asked}; expected 1 or more")
    own = {each.name for each in fields(recipe.learner)}  # type: ignore[arg-type]
    shared = {each.name: getattr(recipe.learner, each.name) for each in fields(FSDP) if each.name in own}
    return replace(recipe, learner=FSDP(**shared | {"processes": asked}))
