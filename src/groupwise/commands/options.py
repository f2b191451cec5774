"""A recipe's numbers from the command line: tyro reads the dataclasses, one error message speaks of what is unknown."""

from __future__ import annotations

import contextlib
import difflib
import io
import itertools
import tomllib
from collections.abc import Sequence
from dataclasses import field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from groupwise.cli import underscored
from groupwise.errors import UserError
from groupwise.foreign import explain, refusal
from groupwise.runs import Run
from groupwise.stage import Stage
from groupwise.tasks.task import Task

CONFIG = (tyro.conf.AvoidSubcommands, tyro.conf.SuppressFixed, tyro.conf.FlagConversionOff)

TunableStage: Any = make_dataclass(
    "TunableStage",
    [("name", Annotated[str, tyro.conf.Suppress]), ("task", Annotated[Task, tyro.conf.Suppress])],
    bases=(Stage,),
    frozen=True,
)
TunableStage.__doc__ = Stage.__doc__


def tune(recipe: Run, arguments: Sequence[str], program: str, others: Sequence[str] = ()) -> Run:
    """The recipe with the numbers that ``arguments`` name: ``--grpo.algorithm.kl.coefficient 0.02``.

    A recipe of one stage needs no stage's name: ``--algorithm.kl.coefficient 0.02``. ``--help`` lists all. Raises
    UserError for a value that does not fit, and for an option that is not there, with the nearest one that is, of the
    recipe's and of ``others``.
    """
    view, default = _view(recipe)
    _refuse_unknown(view, default, arguments, others)
    tuned = _parse(view, default, arguments, program)
    stages = tuple(_tuned_stage(tuned, stage) for stage in recipe.stages)
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
    rows: list[Any] = []
    for stage in recipe.stages:
        name, source = "" if len(recipe.stages) == 1 else stage.name, stage.algorithm.source
        shown: Any = Annotated[TunableStage, tyro.conf.arg(name=name)]
        rows.append((_identifier(stage), shown, field(default=_tunable(stage))))
        # In its own field: a protocol with attributes, such as Source, hides from tyro which class a value has.
        named: Any = Annotated[type(source), tyro.conf.arg(name=f"{name}.algorithm.source".lstrip("."))]
        rows.append((f"{_identifier(stage)}_source", named, field(default=source)))
    for option in fields(recipe):
        if option.name not in ("name", "model", "stages"):
            value = getattr(recipe, option.name)
            rows.append((option.name, type(value), field(default=value)))
    view = make_dataclass("Options", rows, frozen=True)
    view.__doc__ = "The recipe's numbers."
    return view, view()


def _tunable(stage: Stage) -> Any:
    """Without the task: it has no numbers, and tyro would look at every one of its rows."""
    values = {option.name: getattr(stage, option.name) for option in fields(stage)}
    return TunableStage(**values | {"task": Task(stage.task.name, ())})


def _tuned_stage(tuned: Any, stage: Stage) -> Stage:
    found, source = getattr(tuned, _identifier(stage)), getattr(tuned, f"{_identifier(stage)}_source")
    values = {option.name: getattr(found, option.name) for option in fields(stage)}
    algorithm = replace(found.algorithm, source=source)
    return Stage(**values | {"name": stage.name, "algorithm": algorithm, "task": stage.task})


def _identifier(stage: Stage) -> str:
    return "stage_" + "".join(letter if letter.isalnum() else "_" for letter in stage.name)


def _refuse_unknown(view: type, default: Any, arguments: Sequence[str], others: Sequence[str]) -> None:
    known = [
        name
        for action in tyro.extras.get_parser(view, default=default, use_underscores=True, config=CONFIG)._actions
        for name in action.option_strings
    ]
    every = [*known, *others]
    for place, argument in enumerate(arguments):
        name = underscored(argument).partition("=")[0]
        if name.startswith("--") and name not in known:
            raise UserError(f"unknown option {name}{explain(arguments[place:], every) or _nearest(name, every)}")
    override = refusal(arguments, every)
    if override:
        raise UserError(override)


def _parse(view: type, default: Any, arguments: Sequence[str], program: str) -> Any:
    """What tyro makes of it; its boxed errors become one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                view, default=default, args=list(arguments), prog=program, use_underscores=True, config=CONFIG
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise UserError(f"{_unboxed(said.getvalue())}; --help lists the options") from None


def _unboxed(text: str) -> str:
    """The first paragraph inside a box."""
    lines = [line.strip("│ ") for line in text.splitlines()[1:]]
    paragraph = itertools.takewhile(lambda line: line and not line.startswith(("─", "╰")), lines)
    return " ".join(paragraph).rstrip(".")


def _nearest(name: str, known: Sequence[str]) -> str:
    """Of the same last word; else the most alike, by the whole and by the last word."""
    last = name.rpartition(".")[2].lstrip("-")
    ends = [option for option in known if option.rpartition(".")[2].lstrip("-") == last]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    words = {option.rpartition(".")[2].lstrip("-"): option for option in reversed(known)}
    alike = difflib.get_close_matches(last, words, n=1, cutoff=0.6)
    best = [*ends, *near, *(words[word] for word in alike), *difflib.get_close_matches(name, known, n=1, cutoff=0.5)]
    return f": perhaps you meant {best[0]}" if best else "; --help lists the options"
