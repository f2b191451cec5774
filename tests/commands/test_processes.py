"""--processes on the command line."""

from __future__ import annotations

from argparse import Namespace

import pytest

from groupwise import Local, NewModel, Run, Stage, recipes
from groupwise.commands.options import tune
from groupwise.commands.processes import with_processes
from groupwise.errors import UserError
from groupwise.learners import FSDP
from groupwise.tasks.task import Task
from groupwise.types import Example

ROWS = (Example("row", "1 + 1 =", answer="2"),)


def run() -> Run:
    stage = Stage("grpo", recipes.grpo, Task("rows", ROWS), 5)
    return Run("mine", NewModel(), (stage,), learner=Local(threads=3, tokens_per_micro_batch=777))


def test_the_learner_keeps_its_options_and_has_so_many_processes() -> None:
    asked = with_processes(run(), Namespace(processes=3))
    assert asked.learner == FSDP(threads=3, tokens_per_micro_batch=777, processes=3)
    tuned = tune(asked, ["--learner.timeout_seconds", "9"], "here")
    assert tuned.learner == FSDP(threads=3, tokens_per_micro_batch=777, processes=3, timeout_seconds=9)


def test_one_process_is_the_recipe_as_it_is() -> None:
    plain = run()
    assert with_processes(plain, Namespace(processes=None)) is plain
    assert with_processes(plain, Namespace(processes=1)) is plain
    with pytest.raises(UserError, match="--processes is 0; expected 1 or more"):
        with_processes(plain, Namespace(processes=0))
