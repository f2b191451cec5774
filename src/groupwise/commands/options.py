"""A recipe's numbers from the command line: tyro reads the dataclasses, one error message speaks of what is unknown."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from groupwise.errors import UserError
from groupwise.runs import Run
from groupwise.stage import Stage
from groupwise.tasks.task import Task

CONFIG = (tyro.conf.AvoidSubcommands, tyro.conf.SuppressFixed)


def tune(recipe: Run, arguments: Sequence[str], program: str) -> Run:
    """The recipe with the numbers that ``arguments`` name: ``--grpo.algorithm.kl.coefficient 0.02``.

    A recipe of one stage needs no stage's name: ``--algorithm.kl.coefficient 0.02``. ``--help`` lists all. Raises
    UserError for an option that is not there, with the nearest one that is.
    """
    # A task has no numbers, and tyro would look at every one of its rows.
    bare = replace(recipe, stages=tuple(replace(stage, task=Task(stage.task.name, ())) for stage in recipe.stages))
    view, default = _view(bare)
    _refuse_unknown(view, default, arguments)
    tuned = tyro.cli(view, default=default, args=list(arguments), prog=program, use_underscores=True, config=CONFIG)
    stages = tuple(replace(getattr(tuned, _identifier(stage)), task=stage.task) for stage in recipe.stages)
    rest = {f.name: getattr(tuned, f.name) for f in fields(recipe) if f.name not in ("name", "model", "stages")}
    return replace(recipe, stages=stages, **rest)


def from_toml(path: str) -> list[str]:
    """A TOML file is flags in a file: ``[grpo.algorithm.kl] coefficient = 0.02`` is one flag."""
    try:
        return list(_flags(tomllib.loads(Path(path).read_text(encoding="utf-8")), ""))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; --options takes a TOML file of options") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error


def _flags(table: dict[str, Any], prefix: str) -> list[str]:
    flags: list[str] = []
    for key, value in table.items():
        if isinstance(value, dict):
            flags += _flags(value, f"{prefix}{key}.")
        else:
            items = value if isinstance(value, list) else [value]
            flags += [f"--{prefix}{key}", *(str(item) for item in items)]
    return flags


def _view(recipe: Run) -> tuple[type, Any]:
    """A dataclass with a field for each stage, and its value: what tyro turns into options."""
    alone = len(recipe.stages) == 1
    annotation: Any = Annotated[Stage, tyro.conf.arg(name="")] if alone else Stage
    rows: list[Any] = [(_identifier(stage), annotation, field(default=stage)) for stage in recipe.stages]
    for option in fields(recipe):
        if option.name not in ("name", "model", "stages"):
            value = getattr(recipe, option.name)
            rows.append((option.name, type(value), field(default=value)))
    view = make_dataclass("Options", rows, frozen=True)
    view.__doc__ = "The recipe's numbers."
    return view, view()


def _identifier(stage: Stage) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in stage.name)


def _refuse_unknown(view: type, default: Any, arguments: Sequence[str]) -> None:
    known = [
        name
        for action in tyro.extras.get_parser(view, default=default, use_underscores=True, config=CONFIG)._actions
        for name in action.option_strings
    ]
    for argument in arguments:
        name = argument.split("=", 1)[0]
        if name.startswith("--") and name.replace("-", "_") not in {option.replace("-", "_") for option in known}:
            raise UserError(f"unknown option {name}{_nearest(name, known)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    ends = [option for option in known if option.rpartition(".")[2] == name.rpartition(".")[2].lstrip("-")]
    best = (ends or near)[:1]
    return f": perhaps you meant {best[0]}" if best else "; --help lists the options"
