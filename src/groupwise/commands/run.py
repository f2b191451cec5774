"""groupwise run: a recipe file, or a method by its name on a model and data."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.cli import JUDGE, REWARDS, WEIGHT, parser
from groupwise.commands.data_options import add_answer_options, add_data_options, reading_of
from groupwise.commands.held_out import HELP as HELD_OUT_HELP
from groupwise.commands.held_out import read_held_out
from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.algorithm import Algorithm
    from groupwise.learners import NewModel
    from groupwise.runs import Run
    from groupwise.tasks.task import Task

EXAMPLES = """  groupwise run examples/quickstart.py
  groupwise run examples/quickstart.py --grpo.steps 80 --seed 1 --out runs/longer
  groupwise run examples/gsm8k.py --model PATH --train train.jsonl --test test.jsonl
  groupwise run grpo --model PATH --data train.jsonl --reward math --steps 200
  groupwise run grpo --model PATH --data train.jsonl --reward my_reward.py:score --algorithm.kl.coefficient 0

The same command again continues a stopped run. groupwise run RECIPE --help lists the recipe's own options."""

USAGE = "groupwise run RECIPE.py | METHOD [--model M --data D --reward R] [--out DIR] [--fresh] [recipe options]"
HELP = ("-h", "--help")


def execute(arguments: Sequence[str]) -> int:
    """Runs, and says where the results are."""
    if not arguments or arguments[0] in HELP:
        _parser(for_method=True).print_help()
        return 0
    if arguments[0].startswith("-"):
        raise UserError(f"a recipe comes first, and then options such as {arguments[0]}; expected {USAGE}")
    is_file = arguments[0].endswith(".py")
    words = [word for word in arguments if word not in HELP]
    chosen, rest = _parser(for_method=not is_file).parse_known_args(words)
    asks_help = len(words) < len(arguments)
    if chosen.options:
        from groupwise.commands.options import from_toml

        rest = [*from_toml(chosen.options), *rest]
    read = _from_file if is_file else _from_method
    try:
        recipe, left, others = read(chosen, rest, asks_help)
    except UserError as error:
        if not asks_help:
            raise
        print(f"The options of its stages are listed once it can be made: {error}")
        return 0
    return _run(recipe, left, others, chosen, asks_help, arguments)


def _parser(for_method: bool) -> ArgumentParser:
    """Of what is not the recipe's: where to run, and for a method on what."""
    known = parser("run", "Train: a recipe file, or a method by its name on your model and data.", EXAMPLES, USAGE)
    known.add_argument("recipe", help="a Python file that defines run = Run(...), or a method such as grpo or sft")
    known.add_argument("--out", metavar="DIR", help="the run's directory (runs/NAME)")
    known.add_argument("--fresh", action="store_true", help="start over: remove what an earlier run left in --out")
    known.add_argument("--options", metavar="FILE", help="a TOML file of recipe options; those on the command line win")
    known.add_argument("--dry_run", action="store_true", help="check and print the recipe, run nothing")
    if for_method:
        data = known.add_argument_group("with a method")
        data.add_argument("--model", metavar="MODEL", help="a model directory or hub name")
        data.add_argument(
            "--data",
            metavar="FILE",
            action="append",
            help="jsonl, json, csv, parquet file or hub name; repeatable, FILE*0.3 with a weight",
        )
        data.add_argument(
            "--reward",
            metavar="REWARD",
            action="append",
            help=f"{REWARDS}; {WEIGHT}; repeatable",
        )
        data.add_argument("--judge", metavar="REWARD", help=JUDGE)
        data.add_argument("--held_out", metavar="FILE", action="append", help=HELD_OUT_HELP)
        add_data_options(data)
        add_answer_options(data)
        data.add_argument("--system", metavar="TEXT", help="a system message before every conversation")
    return known


def _options(for_method: bool) -> list[str]:
    return [name for name in _parser(for_method)._option_string_actions if name.startswith("--")]


def _run(
    recipe: Run, rest: list[str], others: list[str], chosen: Namespace, asks_help: bool, given: Sequence[str]
) -> int:
    from groupwise.commands.options import tune
    from groupwise.runs import check
    from groupwise.session import run
    from groupwise.stopping import Stopped, stop_on_signals

    words = [*rest, *(["--help"] if asks_help else [])]
    recipe = tune(recipe, words, f"groupwise run {chosen.recipe}", others)
    if chosen.dry_run:
        return _dry_run(recipe, check(recipe))
    try:
        with stop_on_signals():
            outcome = run(recipe, chosen.out, chosen.fresh)
    except Stopped as stopped:
        again = shlex.join(["groupwise", "run", *(word for word in given if word != "--fresh")])
        print(f"groupwise run: {stopped}; to continue: {again}", file=sys.stderr)
        return 128 + stopped.signal
    if outcome.already_finished:
        print(f"{outcome.directory} is finished: {outcome.directory / 'report.html'} (--fresh starts over)")
    return 0


def _dry_run(recipe: Run, warnings: Sequence[str]) -> int:
    import json

    from groupwise.describe import describe

    print(json.dumps(describe(recipe), indent=1, ensure_ascii=False))
    for warning in warnings:
        print(warning, file=sys.stderr)
    return 0


def _from_file(chosen: Namespace, rest: list[str], asks_help: bool) -> tuple[Run, list[str], list[str]]:
    """The run that a file defines, the arguments left over, and the options that are not the recipe's."""
    from groupwise.commands.recipe_file import read

    own = _options(for_method=False)
    file = read(Path(chosen.recipe), own, lambda: parser(f"run {chosen.recipe}", "", ""))
    if asks_help:
        file.explain()
    recipe, left = file.make(rest)
    given = [word for word in left if word.partition("=")[0] in set(_options(for_method=True)) - set(own)]
    if given:
        raise UserError(f"{given[0]} goes with a method's name; {file.path} says itself what it trains: edit it there")
    return recipe, left, [*own, *file.options]


def _from_method(chosen: Namespace, rest: list[str], asks_help: bool) -> tuple[Run, list[str], list[str]]:
    """A one-stage recipe of a method, a model, data and rewards; then as ``_from_file``."""
    from groupwise.checks import needs_reward
    from groupwise.commands.methods import canonical, method
    from groupwise.learners import NewModel
    from groupwise.tasks.task import Task

    algorithm, others = method(chosen.recipe), _options(for_method=True)
    name = canonical(chosen.recipe)
    if asks_help:
        print(_parser(for_method=True).format_help())
        return _one_stage(name, algorithm, NewModel(), Task("data", ())), rest, others
    needed = ["model", "data"] + (["reward"] if needs_reward(algorithm) else [])
    missing = [name for name in needed if vars(chosen)[name] is None]
    if missing:
        example = f"groupwise run {name} --model PATH --data train.jsonl" + " --reward math" * ("reward" in needed)
        raise UserError(f"--{missing[0]} is missing; expected e.g. {example}")
    recipe = _one_stage(name, algorithm, chosen.model, _task(chosen))
    return replace(recipe, name=f"{name}-{recipe.stages[0].task.name}"), rest, others


def _one_stage(method: str, algorithm: Algorithm, model: str | NewModel, task: Task) -> Run:
    """With the numbers that the method's module has in ``run_defaults``: fields of Stage and Local by name."""
    from groupwise.learners import Local
    from groupwise.presets import run_defaults
    from groupwise.runs import Run
    from groupwise.stage import HeldOut, Stage

    wished: dict[str, Any] = dict(run_defaults(method))
    of_stage = {name: value for name, value in wished.items() if name in Stage.__annotations__}
    of_learner = {name: value for name, value in wished.items() if name in Local.__annotations__}
    stage = replace(Stage(method, algorithm, task, steps=100), **of_stage)
    held_out = HeldOut(problems=100, sampled_problems=0, samples=1)
    return Run(method, model, (stage,), replace(Local(), **of_learner), evaluation=held_out)


def _task(chosen: Namespace) -> Task:
    from groupwise.tasks import from_file

    held_out, fraction = read_held_out(chosen.held_out or ())
    return from_file(
        chosen.data,
        tuple(chosen.reward or ()),
        held_out=held_out,
        held_out_fraction=fraction,
        **reading_of(chosen),
        turns=chosen.turns,
        demonstrations=chosen.demonstrations,
        system=chosen.system,
        judge=chosen.judge,
    )
