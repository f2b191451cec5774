"""This is ``groupwise evaluate`` on benchmarks by name: each of them is asked and judged by itself, all in one
table."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.commands.evaluation_progress import progress
from groupwise.commands.prompt_options import task_with, trained_options
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from groupwise.evaluation.evaluate import Evaluation
    from groupwise.evaluation.plan import HeldOut
    from groupwise.evaluation.suites import SuiteResults
    from groupwise.tasks.task import Task

PIPED_WIDTH = 130
OF_SUITES = ("data", "prompt", "shots", "tools", "trained_on", "in_domain")
"""Options that only benchmarks have a use for."""
OTHERS = ("judge", "verifier", "prompt_column", "answer_column", "ignore_column")
"""Options that benchmarks have none for."""


def add_suite_options(known: ArgumentParser) -> None:
    """Adds the options of benchmarks."""
    known.add_argument("--data", metavar="DIR", help="of benchmarks: the folder where they lie (the hub)")
    known.add_argument("--prompt", metavar="NAME", help="their form: plain, deepseekmath, minerva4, gsm8shot, pal, ...")
    known.add_argument("--shots", type=int, metavar="N", help="of benchmarks: worked examples before each question")
    known.add_argument("--tools", action="store_true", help="of benchmarks: run programs, tell the model their outputs")
    known.add_argument(
        "--trained_on",
        metavar="FILE",
        nargs="+",
        help="training data, where benchmarks' questions are looked for",
    )
    known.add_argument(
        "--in_domain", metavar="NAME", nargs="+", help="benchmarks that training was for; the others are out of domain"
    )


def are_suites(chosen: Namespace) -> bool:
    """Says whether the options ask for benchmarks. ``gsm8k`` alone is the task of that name, with its own rule.

    Raises UserError where some of the tasks are none, or options do not go together.
    """
    from groupwise.tasks.suite_table import SUITES
    from groupwise.tasks.values import nearest

    said = [name for name in OF_SUITES if vars(chosen)[name] not in (None, False)]
    others = [name for name in chosen.task if name not in SUITES]
    if len(chosen.task) == 1 and not said and (others or chosen.task == ["gsm8k"]):
        return False
    if others:
        what = f"--{said[0]} goes with benchmarks" if len(chosen.task) == 1 else "several tasks are benchmarks"
        raise UserError(
            f"--task {others[0]}: no benchmark{nearest(others[0], tuple(SUITES))}, and {what}: {', '.join(SUITES)}"
        )
    needless = next((name for name in OTHERS if vars(chosen)[name]), None)
    if needless:
        raise UserError(f"--{needless} goes with a task of your own; benchmarks say themselves how they are read")
    for name in chosen.in_domain or ():
        if name not in chosen.task:
            raise UserError(f"--in_domain {name}: not among the tasks; expected some of {', '.join(chosen.task)}")
    if chosen.shots is not None:
        refuse_number("--shots", chosen.shots, "[0, inf)", whole=True)
    return True


def evaluate_suites(chosen: Namespace, said: Mapping[str, Any], plan: HeldOut) -> int:
    """Evaluates MODEL, and OTHER before it, on each benchmark; prints the table, and writes --json."""
    from groupwise.commands.models import labels
    from groupwise.evaluation.suites import SuiteResults
    from groupwise.tasks.suites import Asking, suite_task

    asking = Asking(chosen.prompt or "plain", chosen.shots, chosen.tools, tuple(chosen.reward or ()))
    tasks = {name: task_with(suite_task(name, chosen.data, asking), dict(said), ()) for name in chosen.task}
    found = contaminated(tasks, chosen.trained_on) if chosen.trained_on else {}
    sources = [source for source in (chosen.against, chosen.model) if source]
    names = labels(*sources)
    done: dict[str, tuple[Evaluation, ...]] = dict.fromkeys(tasks, ())
    for source, name in zip(sources, names, strict=True):
        for task, evaluation in _evaluated(source, name, tasks, chosen, plan).items():
            done[task] += (evaluation,)
    results = SuiteResults(names, done, found, tuple(chosen.in_domain or ()))
    _print(results)
    if chosen.json:
        from groupwise.storage.named_file import write_named_json

        values = results.to_json()
        for source, model in zip(sources, values["models"], strict=True):
            model["model"] = source
        write_named_json(Path(chosen.json), values)
    return 0


def _evaluated(
    source: str, name: str, tasks: Mapping[str, Task], chosen: Namespace, plan: HeldOut
) -> dict[str, Evaluation]:
    from groupwise.commands.models import open_model
    from groupwise.evaluation.evaluate import evaluate_plan
    from groupwise.rewards.scoring import prepare

    known = trained_options(source, chosen.system, chosen.stop)
    engine, renderer = open_model(source, chosen.device, chosen.dtype, known.system or None, known.chat)
    found = {}
    for task in tasks.values():
        prepare(task.judges)
        chat = known.chat if task.chat == "auto" else task.chat
        own = replace(
            renderer,
            chat=chat,
            system=renderer.system if chat != "never" else None,
            template_arguments={**renderer.template_arguments, **task.template_arguments} if chat != "never" else {},
            stop_strings=(*known.stop_strings, *task.stop_strings),
            converses=task.budget.rewritten if task.episodes is not None else "",
        )
        with progress(f"evaluating {name} on {task.name}") as advance:
            found[task.name] = evaluate_plan(engine, own, task, plan, seed=chosen.seed, on_progress=advance)
    return found


def contaminated(tasks: Mapping[str, Task], files: Sequence[str]) -> dict[str, frozenset[str]]:
    """Returns of each benchmark the ids of the problems whose questions stand in training data. Raises UserError for
    data that cannot be read."""
    from groupwise.corpus.benchmarks import Item
    from groupwise.corpus.decontamination import Index, NGrams
    from groupwise.corpus.rows import check_rows
    from groupwise.tasks.files import read_rows
    from groupwise.tasks.suite_table import SUITES

    rows = [(name, row) for file in files for name, row in read_rows(file)]
    print(visible(f"looking for the questions in {counted(len(rows), 'row')} of {', '.join(files)}"), file=sys.stderr)
    items = {
        (name, number): Item(name, number, row.id, " ".join(str(row.columns[each]) for each in asked))
        for name, task in tasks.items()
        for number, row in enumerate(task.held_out)
        for asked in [SUITES[name].columns_of(row.id, row.columns)]
    }
    hits = check_rows(rows, Index(NGrams(), tuple(items.values())))
    bad = {(each.hit.item.benchmark, each.hit.item.where) for each in hits}
    return {name: frozenset(id for benchmark, id in bad if benchmark == name) for name in tasks}


def _print(results: SuiteResults) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from groupwise.commands.suite_rows import columns, remarks, rows

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(columns(results)):
        table.add_column(escape(heading), justify="right" if place else "left")
    for row in rows(results):
        table.add_row(*map(escape, row)) if row else table.add_section()
    console.print(table)
    for line in (*remarks(results), results.sentence):
        if line:
            console.print(line, markup=False, soft_wrap=True)
