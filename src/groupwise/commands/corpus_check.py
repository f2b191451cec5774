"""This is ``groupwise corpus check``: it says which rows of a data file hold questions of benchmarks."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.commands.decontamination import print_hits
from groupwise.commands.parser import parser
from groupwise.config.ranges import refuse_number
from groupwise.output.counting import counted
from groupwise.output.printable import visible
from groupwise.storage.named_file import refuse_place, write_named, write_named_json

if TYPE_CHECKING:
    from groupwise.corpus.rows import RowHit

EXAMPLES = """  groupwise corpus check train.jsonl --against gsm8k cmath
  groupwise corpus check corpus/ --against gsm8k=gsm8k/test.jsonl mine.jsonl --json hits.json
  groupwise corpus check train.jsonl --against gsm8k --benchmarks DIR --clean clean.jsonl"""
FOUND = 1
"""Exit code where something was found, unless a clean copy was asked for."""


def execute(arguments: Sequence[str]) -> int:
    """Looks through the rows, prints the hits, and writes --json and --clean."""
    chosen = _parser().parse_args(arguments)
    for name in ("json", "clean"):
        if vars(chosen)[name]:
            refuse_place(Path(vars(chosen)[name]), f"--{name}")
    refuse_number("--size", chosen.size, "[2, inf)", whole=True)
    refuse_number("--show", chosen.show, "[0, inf)", whole=True)
    from groupwise.corpus.decontamination import NGrams
    from groupwise.corpus.rows import check_rows
    from groupwise.tasks.files import read_rows

    rule = NGrams(tuple(chosen.against), chosen.size, benchmarks=chosen.benchmarks or "", solutions=chosen.solutions)
    index = rule.index()
    rows = read_rows(chosen.data)
    found = check_rows(rows, index)
    print_hits(found, chosen.show)
    print(visible(_summary(chosen.data, len(rows), found, index.items, index.too_short)))
    if chosen.json:
        write_named_json(Path(chosen.json), {"rows": len(rows), "hits": [each.to_json() for each in found]})
    if chosen.clean:
        _write_clean(Path(chosen.clean), rows, {each.row for each in found})
    return FOUND if found and not chosen.clean else 0


def _parser() -> ArgumentParser:
    summary = (
        "Looks for benchmark questions in every text of a data file, by runs of 10 tokens that entities, widths, "
        "quotes,\ntags, case and spaces do not hide. Exits with 1 where it finds one."
    )
    known = parser("corpus check", summary, EXAMPLES, "groupwise corpus check DATA --against NAME|FILE ... [options]")
    known.add_argument("data", metavar="DATA", help="jsonl, json, csv, parquet, txt, a folder of them, or a hub name")
    known.add_argument(
        "--against", metavar="NAME", nargs="+", required=True, help="benchmarks: a name, a FILE, or NAME=FILE"
    )
    known.add_argument("--benchmarks", metavar="DIR", help="a folder that holds NAME/test.jsonl (else: the hub)")
    known.add_argument("--size", type=int, metavar="N", default=10, help="tokens of a run that convicts (10)")
    known.add_argument("--solutions", action="store_true", help="runs of the benchmarks' solutions convict too")
    known.add_argument("--show", type=int, metavar="N", default=20, help="hits to print (20)")
    known.add_argument("--json", metavar="FILE", help="also write every hit")
    known.add_argument("--clean", metavar="FILE", help="also write the rows without a hit, as jsonl; exit with 0")
    return known


def _summary(data: str, rows: int, found: Sequence[RowHit], items: Sequence[object], too_short: int) -> str:
    hit = len({each.row for each in found})
    lines = [f"{data}: {hit:,} of {counted(rows, 'row')} hold something of {counted(len(items), 'benchmark item')}"]
    if too_short:
        lines.append(f"{counted(too_short, 'item')} of fewer than 3 tokens cannot be looked for")
    return "\n".join(lines)


def _write_clean(path: Path, rows: Sequence[tuple[str, dict[str, object]]], bad: set[str]) -> None:
    import json

    kept = [json.dumps(row, ensure_ascii=False, default=str) for name, row in rows if name not in bad]
    write_named(path, "".join(f"{line}\n" for line in kept))
    print(visible(f"{path}: {counted(len(kept), 'row')} without a hit"))
