"""This is ``groupwise list``: it prints the runs below a directory, a line each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.output.printable import visible
from groupwise.storage.clearing import RECORD

EXAMPLES = """  groupwise list
  groupwise list experiments --json"""
HEADS = ("run", "status", "step", "before", "after", "started")


def execute(arguments: Sequence[str]) -> int:
    """Prints a line a run, the newest last."""
    known = parser("list", "The runs below a directory: how far they have come, and what they found.", EXAMPLES)
    known.add_argument("directory", metavar="DIR", nargs="?", default="runs", help="where to look (runs)")
    known.add_argument("--json", action="store_true", help="print them as JSON instead")
    chosen = known.parse_args(arguments)
    found = _found(Path(chosen.directory))
    if chosen.json:
        print(visible(json.dumps(found, indent=1, ensure_ascii=False)))
        return 0
    if not found:
        print(visible(f"{chosen.directory}: no runs yet; groupwise run makes them"))
        return 0
    lines = [HEADS, *map(_cells, found)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADS))]
    for line in lines:
        print(visible("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()))
    return 0


def _found(directory: Path) -> list[dict[str, Any]]:
    """Returns what is known of every run below, however deep; runs inside of runs are none."""
    from groupwise.view.about import about
    from groupwise.view.run_files import open_runs

    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; expected one that holds runs, such as runs")
    places = sorted(path.parent for path in directory.rglob(RECORD) if path.is_file())
    kept: list[dict[str, Any]] = []
    for run in open_runs(places):
        if not isinstance(run.record().get("recipe"), dict):
            continue  # a file of that name may be anyone's
        known = about(run)
        kept.append({name: known[name] for name in ("name", "directory", "status", "started", "stages", "result")})
    return sorted(kept, key=lambda each: each["started"] if isinstance(each["started"], int | float) else 0.0)


def _cells(run: Mapping[str, Any]) -> tuple[str, ...]:
    begun = [stage for stage in run["stages"] if stage["done"]] or run["stages"][:1]
    at = f"{begun[-1]['name']} {begun[-1]['done']}/{begun[-1]['steps']}" if begun else ""
    result, started = run["result"], run["started"]
    before = f"{result['before']['value']:.3f}" if result and not result["only"] else ""
    after = f"{result['after']['value']:.3f}" if result else ""
    when = datetime.fromtimestamp(started).strftime("%Y-%m-%d %H:%M") if isinstance(started, int | float) else ""
    return run["directory"], run["status"], at, before, after, when
