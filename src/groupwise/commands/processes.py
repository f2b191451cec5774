"""This module reads --processes, and what torchrun says of the processes that it started."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.runs.recipe import Run

HELP = "train by so many processes of this machine, each with its part of every parameter (docs/scale.md)"


def add_process_option(parser: ArgumentParser) -> None:
    """Adds ``--processes``, which says among how many processes the learner is divided."""
    parser.add_argument("--processes", metavar="N", type=int, help=HELP)


def started_by_torchrun() -> bool:
    """Says whether this process is one of several that somebody else started."""
    from groupwise.learners.launch import started_by_torchrun

    return started_by_torchrun()


def follows() -> bool:
    """Does what rank 0 says, to the end of the run, where this process is another rank; else returns False at once."""
    if not started_by_torchrun() or os.environ["RANK"] == "0":
        return False
    from groupwise.learners.follower import main

    main()
    return True


def release() -> None:
    """Lets the processes that torchrun started go, where the run is over."""
    if started_by_torchrun():
        from groupwise.learners.ranks import release_ranks

        release_ranks()


def with_processes(recipe: Run, chosen: Namespace) -> Run:
    """The recipe with a learner of several processes and the options of its own, where --processes or torchrun asks
    for it; else as it is.

    Raises UserError for a number below 1, and for a learner that knows of no processes.
    """
    asked: int | None = chosen.processes
    if asked is not None and asked < 1:
        raise UserError(f"--processes is {asked}; expected 1 or more")
    if asked is None and not started_by_torchrun():
        return recipe
    learner = recipe.learner.over(asked or 0)
    return recipe if learner is recipe.learner else replace(recipe, learner=learner)
