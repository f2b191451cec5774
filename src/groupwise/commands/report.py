"""This is ``groupwise report``: it writes a run as one file to look at, whatever of it there is so far."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.output.printable import visible

EXAMPLES = """  groupwise report runs/quickstart
  groupwise report runs/quickstart --out quickstart.html

A run may be at work meanwhile, or have been stopped at any time; the page says how far it has come."""


def execute(arguments: Sequence[str]) -> int:
    """Writes the page, and says where."""
    known = parser("report", "Write a run as one file to look at: at any time.", EXAMPLES)
    known.add_argument("run", metavar="RUN", help="the directory of a run")
    known.add_argument("--out", metavar="FILE", help="where to (RUN/report.html)")
    chosen = known.parse_args(arguments)
    from groupwise.storage.named_file import refuse_place, write_named
    from groupwise.view.export import document, write_page
    from groupwise.view.run_files import open_runs

    run = Path(chosen.run)
    if chosen.out:
        refuse_place(Path(chosen.out))
        write_named(Path(chosen.out), document(open_runs([run])))
    else:
        _refuse_unwritable(run)
        write_page([run], run / "report.html")
    print(visible(chosen.out or str(run / "report.html")))
    return 0


def _refuse_unwritable(run: Path) -> None:
    if run.is_dir() and not os.access(run, os.W_OK):
        raise UserError(f"{run}: cannot be written; --out FILE puts the page elsewhere")
