"""This is ``groupwise corpus domains``: it says of which domains much was collected, and writes a file in which a
person says what is wanted."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groupwise.commands.parser import parser
from groupwise.config.ranges import refuse_number
from groupwise.output.printable import visible

EXAMPLES = """  groupwise corpus domains corpus                   # the table, and corpus/annotations.toml to fill in
  groupwise corpus domains corpus --show 200 --iteration 1"""


def execute(arguments: Sequence[str]) -> int:
    """Prints the table of a round, and writes the prefixes into the file, with the answers that it has."""
    chosen = _parser().parse_args(arguments)
    refuse_number("--show", chosen.show, "[0, inf)", whole=True)
    from groupwise.corpus.annotations import read_annotations, write_annotations
    from groupwise.corpus.domains import read_domains
    from groupwise.corpus.inputs import last_round
    from groupwise.storage.atomic import full_disk_named

    out = Path(chosen.directory).expanduser()
    number = last_round(out, chosen.iteration)
    rows = read_domains(out / f"iteration-{number}" / "domains.parquet")
    path = Path(chosen.annotations) if chosen.annotations else out / "annotations.toml"
    answered = read_annotations(path).answered
    for line in table(rows[: chosen.show], answered):
        print(visible(line))
    if len(rows) > chosen.show:
        print(f"... and {len(rows) - chosen.show:,} more")
    said = {row["prefix"]: f"{row['pages']:,} pages, {row['collected']:,} collected" for row in rows}
    with full_disk_named(path):
        write_annotations(path, said, answered)
    still = sum(not answered.get(prefix) for prefix in said)
    print(visible(f"{path}: {len(said):,} prefixes of round {number}, {still:,} of them without an answer"))
    return 0


def table(rows: Sequence[Mapping[str, Any]], answered: Mapping[str, str]) -> list[str]:
    """The table, a line a prefix; a domain's own name stands once, before its prefixes."""
    cells = [("prefix", "pages", "collected", "share", "answer")]
    for row in rows:
        share = f"{row['share']:.0%}"
        cells.append(
            (row["prefix"], f"{row['pages']:,}", f"{row['collected']:,}", share, answered.get(row["prefix"], ""))
        )
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    return [
        "  ".join(
            word.ljust(width) if place in (0, 4) else word.rjust(width)
            for place, (word, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _parser() -> ArgumentParser:
    summary = (
        "Lists the domains of which more than a tenth was collected, with prefixes of their addresses, and writes\n"
        "them into a file in which a person answers: wanted or other. The build command then goes on."
    )
    known = parser("corpus domains", summary, EXAMPLES, "groupwise corpus domains DIR [options]")
    known.add_argument("directory", metavar="DIR", help="--out of groupwise corpus build")
    known.add_argument("--iteration", type=int, metavar="N", default=0, help="of this round (the last)")
    known.add_argument("--annotations", metavar="FILE", help="the file to write (DIR/annotations.toml)")
    known.add_argument("--show", type=int, metavar="N", default=50, help="prefixes to print (50)")
    return known
