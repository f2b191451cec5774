"""This module reads --decontaminate: training rows that hold benchmark questions are left out, and shown."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from groupwise.corpus.decontamination import Index
    from groupwise.corpus.rows import RowHit
    from groupwise.runs.recipe import Run
    from groupwise.training.stage import Stage
    from groupwise.types import Example

DECONTAMINATE = "leave out training rows that hold questions of these benchmarks (NAME, FILE, NAME=FILE); show them"
SHOWN_LETTERS = 90
SHOWN_HITS = 10


def add_decontamination_option(parser: ArgumentParser) -> None:
    """Adds ``--decontaminate`` and the folder in which it looks for benchmarks."""
    parser.add_argument("--decontaminate", metavar="NAME", action="append", nargs="+", help=DECONTAMINATE)
    parser.add_argument("--benchmarks", metavar="DIR", help="for --decontaminate: a folder that holds NAME/test.jsonl")


def decontaminated(recipe: Run, chosen: Namespace) -> Run:
    """The recipe with no training row that holds a benchmark's question, and a table of those left out.

    Raises UserError for a benchmark that cannot be read, and where no row remains.
    """
    if not chosen.decontaminate:
        if chosen.benchmarks:
            raise UserError("--benchmarks is where --decontaminate looks; expected --decontaminate NAME with it")
        return recipe
    from groupwise.corpus.decontamination import NGrams

    against = tuple(name for names in chosen.decontaminate for name in names)
    index = NGrams(against, benchmarks=chosen.benchmarks or "").index()
    return replace(recipe, stages=tuple(_cleaned(stage, index) for stage in recipe.stages))


def _cleaned(stage: Stage, index: Index) -> Stage:
    from groupwise.corpus.rows import check_rows

    task = stage.task
    if not len(task.train):
        return stage
    rows = [task.train[place] for place in range(len(task.train))]
    found = check_rows([(str(place), _texts(row)) for place, row in enumerate(rows)], index)
    bad = {int(each.row) for each in found}
    names = [row.id for row in rows]
    print_hits([replace(each, row=names[int(each.row)]) for each in found], SHOWN_HITS)
    print(visible(f"{stage.name}: {len(bad):,} of {counted(len(rows), 'training row')} hold benchmark items: left out"))
    if not bad:
        return stage
    if len(bad) == len(rows):
        raise UserError(f"--decontaminate: every training row of {stage.name} holds a benchmark item; expected others")
    return replace(stage, task=task.with_rows([place not in bad for place in range(len(rows))]))


def _texts(row: Example) -> dict[str, object]:
    """Returns all that a row may teach: what was read of it and every column."""
    return {"prompt": row.prompt, "completion": row.completion, **row.columns}


def print_hits(found: Sequence[RowHit], most: int) -> None:
    """Prints a line for each hit: row and column, benchmark and item, rule, runs found, and the text."""
    if not found:
        return
    cells = [("row", "column", "benchmark", "item", "rule", "grams", "text")]
    for each in found[:most]:
        item, text = each.hit.item, each.hit.text
        text = text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 3]}..."
        cells.append(
            (each.row, each.column, item.benchmark, str(item.number), each.hit.rule, str(each.hit.grams), text)
        )
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]) - 1)]
    for row in cells:
        words = [word.ljust(width) for word, width in zip(row[:-1], widths, strict=True)]
        print(visible("  ".join((*words, row[-1])).rstrip()))
    if len(found) > most:
        print(f"... and {len(found) - most:,} more")
