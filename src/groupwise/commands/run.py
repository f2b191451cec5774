"""This is ``groupwise run``: it trains by a recipe file, or by a method's name on a model and data."""

from __future__ import annotations

import re
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.commands.data_options import add_answer_options, add_data_options, reading_of
from groupwise.commands.decontamination import add_decontamination_option, decontaminated
from groupwise.commands.drawing import add_drawing_options, drawn_as_asked
from groupwise.commands.held_out import HELP as HELD_OUT_HELP
from groupwise.commands.held_out import read_held_out
from groupwise.commands.on_ray import add_ray_options, run_on_ray
from groupwise.commands.parser import JUDGE, REWARDS, WEIGHT, parser
from groupwise.commands.processes import add_process_option, follows, release, with_processes
from groupwise.commands.prompt_options import CHAT_HELP, STOP_HELP
from groupwise.errors import UserError
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from groupwise.algorithm import Algorithm
    from groupwise.commands.flags import Flag
    from groupwise.commands.request import Request
    from groupwise.learners import NewModel
    from groupwise.runs.recipe import Run
    from groupwise.tasks.task import Task

EXAMPLES = """  groupwise run examples/quickstart.py
  groupwise run examples/quickstart.py --grpo.steps 80 --seed 1 --out runs/longer
  groupwise run examples/gsm8k.py --model PATH --train train.jsonl --test test.jsonl
  groupwise run grpo --model PATH --data train.jsonl --reward math --steps 200
  groupwise run grpo_process --model PATH --data stepwise:1 --reward steps
  groupwise run grpo --model PATH --data train.jsonl --reward my_reward.py:score --algorithm.kl.coefficient 0

The same command again continues a stopped run. groupwise run RECIPE --help lists the recipe's own options."""

USAGE = "groupwise run RECIPE.py | METHOD | FILE.toml [--model M --data D --reward R] [--out DIR] [--fresh] [options]"
SINK_HELP = "also tell a tracker: wandb, trackio, mlflow, each with :PROJECT behind, or tensorboard; repeatable"
DRY_SECONDS = 5.0  # that each part of a dry run may sample or compute


def execute(arguments: Sequence[str]) -> int:
    """Runs, and says where the results are."""
    from groupwise.commands.request import HELP

    if not arguments or arguments[0].removeprefix("--") in HELP:
        _parser(for_method=True).print_help()
        return 0
    if follows():
        return 0
    try:
        return _execute(arguments)
    finally:
        release()


def _execute(arguments: Sequence[str]) -> int:
    from groupwise.commands.request import read_request

    request = read_request(arguments, _parser, USAGE)
    recipe, request, kept, others = read_recipe(request)
    if recipe is None:
        return 0
    if request.help:
        return show_help(recipe, request, _parser)
    if request.chosen.write_options:
        return _write_options(request, recipe, kept, others)
    return _run(request.tuned(recipe, f"groupwise run {request.subject}", others), request.chosen, arguments)


def _parser(for_method: bool) -> ArgumentParser:
    """Returns the parser of what is not the recipe's: where to run, and for a method on what."""
    known = parser("run", "Train: a recipe file, or a method by its name on your model and data.", EXAMPLES, USAGE)
    known.add_argument("recipe", help="a Python file that defines run = Run(...), or a method such as grpo or sft")
    known.add_argument("--out", metavar="DIR", help="the run's directory (runs/NAME)")
    known.add_argument("--fresh", action="store_true", help="start over: remove what an earlier run left in --out")
    known.add_argument(
        "--options", metavar="FILE", help="a TOML or YAML file of any options; those on the command line win"
    )
    known.add_argument(
        "--write_options", metavar="FILE", help="write all that was given as such a file, and run nothing"
    )
    known.add_argument("--dry_run", action="store_true", help="print the recipe and what would break; run nothing")
    add_drawing_options(known)
    add_process_option(known)
    add_ray_options(known)
    add_decontamination_option(known)
    known.add_argument("--sink", metavar="NAME", action="append", help=SINK_HELP)
    known.add_argument("--stop", metavar="TEXT", action="append", help=STOP_HELP)
    known.add_argument("--chat.NAME", dest="ignored", metavar="VALUE", help=CHAT_HELP)
    if for_method:
        data = known.add_argument_group("with a method")
        data.add_argument("--model", metavar="MODEL", help="a model directory or hub name")
        data.add_argument(
            "--data",
            metavar="FILE",
            action="append",
            help="jsonl, json, csv, parquet file, hub name, stepwise[:LEVEL]; repeatable, FILE*0.3 with a weight",
        )
        data.add_argument("--reward", metavar="REWARD", action="append", help=f"{REWARDS}; {WEIGHT}; repeatable")
        data.add_argument("--judge", metavar="REWARD", help=JUDGE)
        data.add_argument("--held_out", metavar="FILE", action="append", help=HELD_OUT_HELP)
        add_data_options(data)
        add_answer_options(data)
        data.add_argument("--system", metavar="TEXT", help="a system message before every conversation")
    return known


def read_recipe(request: Request) -> tuple[Run | None, Request, list[Flag], list[str]]:
    """The recipe before its numbers are tuned, the request without what the recipe file took, what that was, and the
    options that are not the recipe's. None: help was asked for and all that can be said was printed."""
    try:
        if not request.is_file:
            return _as_asked(_from_method(request), request.chosen), request, [], list(request.names)
        recipe, rest, taken, others = _from_file(request)
        return _as_asked(recipe, request.chosen), rest, taken, others
    except UserError as error:
        if not request.help:
            raise
        print(visible(f"The options of its stages are listed once it can be made: {error}"))
        return None, request, [], []


def show_help(recipe: Run, request: Request, new_parser: Callable[[bool], ArgumentParser]) -> int:
    """Prints the options of a recipe and of the command that reads it."""
    from groupwise.commands.option_help import show

    show(recipe, request, new_parser(not request.is_file))
    return 0


def _as_asked(recipe: Run, chosen: Namespace) -> Run:
    """The recipe as the command's own options change it: on which rows, when completions are drawn, by whom."""
    return with_processes(decontaminated(drawn_as_asked(recipe, chosen), chosen), chosen)


def _write_options(request: Request, recipe: Run, kept: Sequence[Flag], others: Sequence[str]) -> int:
    from groupwise.commands.option_files import write_options

    path = Path(request.chosen.write_options)
    request.tuned(recipe, f"groupwise run {request.subject}", others)  # what cannot be meant is not written
    write_options(path, request.flags(recipe, others, kept))
    print(visible(f"{path} is written; to run it: {shlex.join(['groupwise', 'run', str(path)])}"))
    return 0


def _run(recipe: Run, chosen: Namespace, given: Sequence[str]) -> int:
    from groupwise.runs.recipe import validate
    from groupwise.runs.session import run
    from groupwise.training.interrupts import Stopped, stop_on_signals

    if chosen.dry_run:
        validate(recipe)
        return _dry_run(recipe, chosen.out)
    if chosen.ray:
        validate(recipe)
        return run_on_ray(recipe, chosen, given)
    try:
        with stop_on_signals():
            outcome = run(recipe, chosen.out, chosen.fresh, command=given)
    except Stopped as stopped:
        again = shlex.join(["groupwise", "run", *(word for word in given if word != "--fresh")])
        print(visible(f"groupwise run: {stopped}; to continue: {again}"), file=sys.stderr)
        return 128 + stopped.signal
    if outcome.already_finished:
        print(visible(f"{outcome.directory} is finished: {outcome.directory / 'report.html'} (--fresh starts over)"))
    return 0


def _dry_run(recipe: Run, out: str | None) -> int:
    """Prints the recipe, and what a short look at its model and data finds. 1 where something would break."""
    import json

    from groupwise.config.describe import describe
    from groupwise.preflight import check_run

    print(visible(json.dumps(describe(recipe), indent=1, ensure_ascii=False)))
    breaks = 0
    for each in check_run(recipe, Path(out) if out else None, DRY_SECONDS):
        stops = each.kind == "problem" and "gold" not in each.numbers  # a reward may mean another form of answer
        breaks += stops
        if each.kind != "fact":
            words = f"{each.stage or recipe.name}: {each.part}: {each.words}"
            print(visible(f"would break: {words}" if stops else words), file=sys.stderr)
    return 1 if breaks else 0


def _from_file(request: Request) -> tuple[Run, Request, list[Flag], list[str]]:
    """The run that a file defines; then as ``read_recipe``."""
    from groupwise.commands.flags import words_of
    from groupwise.commands.recipe_file import read

    own = list(request.names)
    file = read(Path(request.subject), own, lambda: parser(f"run {request.subject}", "", ""))
    if request.help:
        file.explain()
    taken, rest = request.without([name.removeprefix("--") for name in file.options])
    recipe = file.make(words_of(taken))
    methods = {name for name in _parser(for_method=True)._option_string_actions if name not in own}
    given = next((flag for flag in (*rest.line, *rest.file) if f"--{flag.name}" in methods), None)
    if given:
        raise UserError(
            f"{given.spelling} goes with a method's name; {file.path} says itself what it trains: edit it there"
        )
    return recipe, rest, taken, [*own, *file.options]


def _from_method(request: Request) -> Run:
    """A one-stage recipe of a method, a model, data and rewards."""
    from groupwise.commands.methods import canonical, method
    from groupwise.learners import NewModel
    from groupwise.tasks.task import Task
    from groupwise.training.checks import needs_reward

    chosen = request.chosen
    algorithm, name = method(chosen.recipe), canonical(chosen.recipe)
    if request.help or chosen.write_options:
        return _one_stage(name, algorithm, NewModel(), Task("data", ()))
    needed = ["model", "data"] + (["reward"] if needs_reward(algorithm) else [])
    missing = [name for name in needed if not vars(chosen)[name]]
    if missing:
        blank = _one_stage(name, algorithm, NewModel(), Task("data", ()))
        request.numbers(blank, request.names)  # what is missing may be there under a misspelt name
        example = f"groupwise run {name} --model PATH --data train.jsonl" + " --reward math" * ("reward" in needed)
        raise UserError(f"--{missing[0]} is missing; expected e.g. {example}")
    recipe = _one_stage(name, algorithm, chosen.model, _task(chosen))
    of_data = re.sub(r"[^\w.-]+", "-", recipe.stages[0].task.name)  # a file may have any name, a run's directory not
    return replace(recipe, name=f"{name}-{of_data}"[:100])


def _one_stage(method: str, algorithm: Algorithm, model: str | NewModel, task: Task) -> Run:
    """Returns a run of one stage, with the numbers that the method's module has in ``run_defaults``: fields of Stage
    and Local by name."""
    from groupwise.explain.presets import run_defaults
    from groupwise.learners import Local
    from groupwise.runs.recipe import Run
    from groupwise.training.stage import HeldOut, Stage

    wished: dict[str, Any] = dict(run_defaults(method))
    of_stage, of_learner = (
        {field.name: wished[field.name] for field in fields(kind) if field.name in wished} for kind in (Stage, Local)
    )
    stage = replace(Stage(method, algorithm, task, steps=100), **of_stage)
    held_out = HeldOut(problems=100, sampled_problems=100, samples=1)
    return Run(method, model, (stage,), replace(Local(), **of_learner), evaluation=held_out)


def _task(chosen: Namespace) -> Task:
    from groupwise.tasks import by_name, from_file, is_generated

    if len(chosen.data) == 1 and is_generated(chosen.data[0]):
        return by_name(chosen.data[0], tuple(chosen.reward or ()), system=chosen.system, judge=chosen.judge)
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
