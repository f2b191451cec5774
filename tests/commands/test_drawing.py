"""--ahead on the command line: every recipe that samples can be drawn ahead."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest

from groupwise import NewModel, Run, Stage, recipes
from groupwise.commands.drawing import drawn_as_asked
from groupwise.commands.options import Options, tune
from groupwise.errors import UserError
from groupwise.runs.recipe import validate
from groupwise.sources import Ahead, OnPolicy, Stream
from groupwise.tasks.task import Task
from groupwise.types import Example

SAMPLING = [name for name in recipes.__all__ if vars(recipes)[name].source.sampled_by() == "learner"]
ROWS = tuple(Example(f"row:{number}", f"{number} + 1 =", answer=str(number + 1)) for number in range(8))


def run_of(name: str) -> Run:
    return Run("mine", NewModel(), (Stage(name, vars(recipes)[name], Task("rows", ROWS), 5),))


def asked(**options: Any) -> Namespace:
    return Namespace(**{"ahead": None, "stream": None} | options)


@pytest.mark.parametrize("name", SAMPLING)
def test_every_recipe_that_samples_is_drawn_ahead_with_a_weight(name: str) -> None:
    plain = run_of(name)
    [stage] = drawn_as_asked(plain, asked(ahead=1)).stages
    algorithm, before = stage.algorithm, plain.stages[0].algorithm
    assert algorithm.source == Ahead(before.source, 1)
    assert not algorithm.needs_own_samples
    assert (algorithm.correction == before.correction) is not before.needs_own_samples
    assert not list(algorithm.source.complaints(algorithm))
    assert drawn_as_asked(plain, asked(ahead=0)).stages[0].algorithm.correction == before.correction


def test_options_are_those_of_both_under_one_name() -> None:
    run = drawn_as_asked(run_of("dapo"), asked(ahead=1))
    tuned = tune(run, ["--group_size", "5", "--source.steps", "3", "--steps", "7", "--source.top_p=0.5"], "here")
    source = tuned.stages[0].algorithm.source
    assert isinstance(source, Ahead)
    assert isinstance(source.source, OnPolicy)
    assert (source.steps, source.source.group_size, source.source.top_p, tuned.stages[0].steps) == (3, 5, 0.5, 7)
    assert set(Options(run_of("dapo")).actions) | {"algorithm.source.steps"} == set(Options(run).actions)
    with pytest.raises(UserError, match=r"steps is -1; expected"):
        validate(tune(run, ["--source.steps", "-1"], "here"))


def test_what_cannot_be_drawn_ahead_is_refused() -> None:
    with pytest.raises(UserError, match=r"--ahead 1: no stage samples .* Demonstrations"):
        drawn_as_asked(run_of("sft"), asked(ahead=1))
    assert drawn_as_asked(run_of("grpo"), asked(stream=2)).stages[0].algorithm.source == Stream(
        recipes.grpo.source, max_staleness=2
    )
    with pytest.raises(UserError, match="--ahead is -2; expected 0 or more steps"):
        drawn_as_asked(run_of("grpo"), asked(ahead=-2))
    plain = run_of("grpo")
    assert drawn_as_asked(plain, asked()) is plain
