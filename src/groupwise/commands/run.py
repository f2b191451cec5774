"""groupwise run: a recipe file, or a method by its name on a model and data."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from groupwise.cli import parser
from groupwise.errors import UserError

EXAMPLES = """  groupwise run examples/quickstart.py
  groupwise run examples/quickstart.py --grpo.steps 80 --seed 1 --out runs/longer
  groupwise run grpo --model PATH --data train.jsonl --reward math --steps 200
  groupwise run grpo --model PATH --data train.jsonl --reward my_reward.py:score --algorithm.kl.coefficient 0

The same command again continues a stopped run. RECIPE --help lists the recipe's own options."""

USAGE = "groupwise run RECIPE.py | METHOD [--model M --data D --reward R] [--out DIR] [--fresh] [recipe options]"


def execute(arguments: Sequence[str]) -> int:
    """Runs, and says where the results are."""
    known = parser("run", "Train: a recipe file, or a method by its name on your model and data.", EXAMPLES, USAGE)
    known.add_argument("recipe", help="a Python file that defines run = Run(...), or a method such as grpo or sft")
    known.add_argument("--model", help="a model directory or hub name (with a method)")
    known.add_argument("--data", help="jsonl, json, csv, parquet file or hub name (with a method)")
    known.add_argument(
        "--reward", action="append", help="math, answer, FILE.py:function or module:function; repeatable"
    )
    known.add_argument("--held_out", "--held-out", help="a file of held-out rows, or a fraction of --data (0.1)")
    known.add_argument("--prompt_column", "--prompt-column", help="the column that holds the prompt")
    known.add_argument("--answer_column", "--answer-column", help="the column that holds the reference answer")
    known.add_argument("--system", help="a system message before every conversation")
    known.add_argument("--out", help="the run's directory (runs/NAME)")
    known.add_argument("--fresh", action="store_true", help="start over: remove what an earlier run left in --out")
    known.add_argument("--options", help="a TOML file of recipe options; those on the command line win")
    known.add_argument("--dry_run", "--dry-run", action="store_true", help="check and print the recipe, run nothing")
    if not arguments or arguments[0] in ("-h", "--help"):
        known.print_help()
        return 0
    asks_help = bool({"-h", "--help"} & set(arguments[1:]))
    chosen, rest = known.parse_known_args([word for word in arguments if word not in ("-h", "--help")])
    return _run(chosen, rest, asks_help)


def _run(chosen: Namespace, rest: list[str], asks_help: bool) -> int:
    from groupwise.commands.options import from_toml, tune
    from groupwise.keeper import Stopped, stop_on_signals
    from groupwise.runs import check, run

    recipe = _from_file(chosen) if chosen.recipe.endswith(".py") else _from_method(chosen, placeholder=asks_help)
    tuned = [*(from_toml(chosen.options) if chosen.options else []), *rest, *(["--help"] if asks_help else [])]
    recipe = tune(recipe, tuned, f"groupwise run {chosen.recipe}")
    if chosen.dry_run:
        return _dry_run(recipe, check(recipe))
    try:
        with stop_on_signals():
            outcome = run(recipe, chosen.out, chosen.fresh)
    except Stopped as stopped:
        print(f"groupwise run: {stopped}", file=sys.stderr)
        return 130
    if outcome.already_finished:
        print(f"{outcome.directory} is finished: {outcome.directory / 'report.html'} (--fresh starts over)")
    return 0


def _dry_run(recipe, warnings: Sequence[str]) -> int:  # type: ignore[no-untyped-def]
    import json

    from groupwise.describe import describe

    print(json.dumps(describe(recipe), indent=1, ensure_ascii=False))
    for warning in warnings:
        print(warning, file=sys.stderr)
    return 0


def _from_file(chosen: Namespace):  # type: ignore[no-untyped-def]
    """The value ``run`` of a recipe file."""
    import runpy

    from groupwise.runs import Run

    path = Path(chosen.recipe)
    if not path.is_file():
        raise UserError(f"{path}: no such recipe file; expected a Python file that defines run = Run(...)")
    given = [name for name in ("model", "data", "reward", "held_out", "system") if getattr(chosen, name) is not None]
    if given:
        raise UserError(f"--{given[0]} goes with a method's name; {path} says itself what it trains: edit it there")
    sys.path.insert(0, str(path.parent.resolve()))
    namespace = runpy.run_path(str(path), run_name="groupwise_recipe")
    if not isinstance(namespace.get("run"), Run):
        raise UserError(f"{path}: defines no run = Run(...); see examples/quickstart.py for one")
    return namespace["run"]


def _from_method(chosen: Namespace, placeholder: bool = False):  # type: ignore[no-untyped-def]
    """A one-stage recipe of a method, a model, data and rewards."""
    from groupwise import recipes
    from groupwise.commands.methods import method
    from groupwise.learners import NewModel
    from groupwise.runs import Run
    from groupwise.sources import OnPolicy
    from groupwise.stage import HeldOut, Stage
    from groupwise.tasks.task import Task

    del recipes
    algorithm = method(chosen.recipe)
    held_out = HeldOut(problems=100, sampled_problems=0, samples=1)
    if placeholder:
        stage = Stage(chosen.recipe, algorithm, Task("data", ()), steps=100)
        return Run(chosen.recipe, NewModel(), (stage,), evaluation=held_out)
    needed = ["model", "data"] + (["reward"] if isinstance(algorithm.source, OnPolicy) else [])
    missing = [name for name in needed if getattr(chosen, name) is None]
    if missing:
        example = f"groupwise run {chosen.recipe} --model PATH --data train.jsonl --reward math"
        raise UserError(f"--{missing[0]} is missing; expected e.g. {example}")
    stage = Stage(chosen.recipe, algorithm, _task(chosen), steps=100)
    name = f"{chosen.recipe}-{Path(chosen.data).name.partition('.')[0]}"
    return Run(name, chosen.model, (stage,), evaluation=held_out)


def _task(chosen: Namespace):  # type: ignore[no-untyped-def]
    from groupwise.tasks import from_file

    held_out, fraction = chosen.held_out, 0.1
    try:
        held_out, fraction = None, float(held_out) if held_out is not None else fraction
    except ValueError:
        pass
    return from_file(
        chosen.data,
        tuple(chosen.reward or ()),
        held_out=held_out,
        held_out_fraction=fraction,
        prompt_column=chosen.prompt_column,
        answer_column=chosen.answer_column,
        system=chosen.system,
    )
