"""This is ``groupwise compare``: it sets runs side by side at an equal budget, seeds of one recipe together."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from groupwise.commands.parser import parser
from groupwise.output.printable import visible

EXAMPLES = """  groupwise compare runs/grpo-sums runs/dr_grpo-sums
  groupwise compare runs/seed-0 runs/seed-1 runs/other-0 runs/other-1 --axis seconds
  groupwise compare runs/a runs/b --html compared.html

Runs whose recipes differ in nothing but the seed are taken together as seeds of one setting."""

GAP = 3
"""Places between the columns of a table, and around it."""


def execute(arguments: Sequence[str]) -> int:
    """Prints the tables, and writes what was asked for."""
    chosen = _parser().parse_args(arguments)
    from groupwise.comparison.settings import settings_of
    from groupwise.comparison.tables import compare_runs
    from groupwise.comparison.words import plain, remarks, tables
    from groupwise.storage.named_file import refuse_place, write_named, write_named_json

    for place in filter(None, (chosen.json, chosen.html)):
        refuse_place(Path(place))
    found = compare_runs(settings_of(chosen.runs), chosen.axis, chosen.stage)
    _print(tables(found), remarks(found))
    if chosen.json:
        write_named_json(Path(chosen.json), plain(found))
        print(visible(f"written: {chosen.json}"))
    if chosen.html:
        from groupwise.view.export import document

        shown = {"tables": tables(found), "remarks": remarks(found)}
        write_named(Path(chosen.html), document([run for each in found.settings for run in each.runs], shown))
        print(visible(f"written: {chosen.html}"))
    return 0


def _print(tables: Sequence[tuple[str, list[str], list[list[str]]]], remarks: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max([110, *(_width(table) for table in tables)]))
    for title, heads, rows in tables:
        words = title.startswith("Where")
        made = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left", title_style="bold", pad_edge=False)
        for at, head in enumerate(heads):
            side = "left" if at == 0 or words else "right"
            made.add_column(Text(visible(head)), justify=side, overflow="fold")  # type: ignore[arg-type]
        below = not words and _width((title, heads, rows)) > console.width
        for row in rows:
            made.add_row(*(Text(_shown(cell, below)) for cell in row))
        console.print(made)
    for line in remarks:
        console.print(Text(visible(line)))


def _shown(cell: str, below: bool) -> str:
    """Returns a cell, with its interval below the number where the table would be too wide otherwise."""
    number, bracket, interval = cell.partition(" [")
    return f"{visible(number)}\n[{visible(interval)}" if below and bracket else visible(cell)


def _width(table: tuple[str, list[str], list[list[str]]]) -> int:
    """Returns how wide a table is in which nothing is broken, for where nobody watches a terminal."""
    from rich.cells import cell_len

    columns = zip(table[1], *table[2], strict=True)
    return sum(max(map(cell_len, column)) + GAP for column in columns) + GAP


def _parser() -> ArgumentParser:
    usage = "groupwise compare RUN RUN [RUN ...] [--axis AXIS] [--stage NAME] [--html FILE] [--json FILE]"
    known = parser("compare", "Runs side by side: results, training at an equal budget, recipes.", EXAMPLES, usage)
    known.add_argument("runs", metavar="RUN", nargs="+", help="directories of runs; others are told from the first")
    known.add_argument(
        "--axis",
        default="samples",
        metavar="AXIS",
        help="what is equal where training is compared: steps, samples, tokens or seconds (samples)",
    )
    known.add_argument("--stage", metavar="NAME", help="the stage to compare (the last of each run)")
    known.add_argument("--html", metavar="FILE", help="write one file with the tables, curves and groups of all runs")
    known.add_argument("--json", metavar="FILE", help="write the numbers")
    return known
