"""This is ``groupwise report``: it writes a run as one file to look at, whatever of it there is so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from groupwise.commands.parser import parser
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
    from groupwise.view.export import write_page

    run = Path(chosen.run)
    path = Path(chosen.out) if chosen.out else run / "report.html"
    print(visible(str(write_page([run], path))))
    return 0
