"""This is ``groupwise evaluate --harness lm-eval``: thousands of tasks of that package, sampled by our engine, with our
intervals."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.commands.evaluation_rows import row_of
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError

if TYPE_CHECKING:
    from groupwise.harness.run import HarnessResults

PIPED_WIDTH = 120
NEEDLESS = ("reward", "judge", "verifier", "tools", "trained_on", "in_domain", "prompt_column", "answer_column", "stop")
CHAT = "chat"
"""``--prompt`` of the harness: the model's chat template."""


def add_harness_options(known: ArgumentParser) -> None:
    """Adds the options of lm-eval."""
    known.add_argument(
        "--harness", choices=("lm-eval",), help="the tasks are lm-eval's, or YAML files of --data DIR; --prompt chat"
    )


def evaluate_harness(chosen: Namespace) -> int:
    """Runs the tasks on MODEL, and on OTHER before it; prints the table, and writes --json.

    Raises UserError where lm-eval is missing or too old, for a task that it has not, and for options that it decides.
    """
    from groupwise.harness.version import refuse_version

    _refuse(chosen)
    refuse_version()
    from groupwise.commands.models import labels
    from groupwise.harness.model import GroupwiseLM
    from groupwise.harness.run import HarnessPlan, run_harness

    tasks = tuple(name for words in chosen.task for name in words.split(",") if name)
    plan = HarnessPlan(
        tasks, chosen.data, chosen.shots, chosen.problems, bool(chosen.prompt), chosen.system if chosen.prompt else None
    )
    sources = [source for source in (chosen.against, chosen.model) if source]
    names, done = labels(*sources), []
    for source in sources:
        device = None if chosen.device == "auto" else chosen.device
        most = chosen.max_completion_tokens
        done.append(run_harness(GroupwiseLM(source, device, chosen.dtype, most, chosen.seed), plan))
    _print(names, done)
    if chosen.json:
        from groupwise.storage.named_file import write_named_json

        models = [
            {"model": source, "harness": "lm-eval", "results": each.to_json()}
            for source, each in zip(sources, done, strict=True)
        ]
        write_named_json(Path(chosen.json), {"models": models})
    return 0


def _refuse(chosen: Namespace) -> None:
    needless = next((name for name in NEEDLESS if vars(chosen)[name]), None)
    if needless:
        raise UserError(f"--{needless}: tasks of lm-eval say themselves how they are judged and sampled; leave it out")
    if chosen.prompt not in (None, CHAT):
        raise UserError(
            f"--prompt {chosen.prompt}: tasks of lm-eval have their own; expected chat (the model's template around "
            "each) or nothing"
        )
    if chosen.system is not None and chosen.prompt is None:
        raise UserError("--system needs the model's chat template: --prompt chat")
    if chosen.shots is not None:
        refuse_number("--shots", chosen.shots, "[0, inf)", whole=True)


def rows(done: Sequence[HarnessResults]) -> Iterator[list[str]]:
    """Yields a row for each number: task, filter, metric, each model's with its interval, the paired difference."""
    first, last = done[0], done[-1]
    for key in dict.fromkeys((*first.measures, *first.others)):
        if all(key in each.measures for each in done):
            change = last.difference(first, key) if len(done) > 1 else None
            cells = row_of("", [each.measures[key] for each in done], change)[1:]
        else:
            cells = [f"{each.others[key]:.3f}" if key in each.others else "" for each in done]
        task, name, metric = key
        yield [task, name, metric, *cells, *[""] * (len(done) + (len(done) > 1) - len(cells))]


def _print(names: Sequence[str], done: Sequence[HarnessResults]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPED_WIDTH)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(("task", "filter", "metric", *names, *["difference"] * (len(done) > 1))):
        table.add_column(escape(heading), justify="right" if place > 2 else "left")
    for row in rows(done):
        table.add_row(*map(escape, row))
    console.print(table)
    console.print("Brackets: 95 % intervals over items.", markup=False)
