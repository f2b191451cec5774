"""This is ``groupwise list``: it prints the runs below a directory, a line each."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.output.printable import visible
from groupwise.storage.clearing import LOCK, RECORD

EXAMPLES = """  groupwise list
  groupwise list experiments --json"""
HERE = "runs"
HEADS = ("run", "status", "step", "before", "after", "started")


def execute(arguments: Sequence[str]) -> int:
    """Prints a line a run, the newest last."""
    known = parser("list", "The runs below a directory: how far they have come, and what they found.", EXAMPLES)
    known.add_argument("directory", metavar="DIR", nargs="?", default=HERE, help=f"where to look ({HERE})")
    known.add_argument("--json", action="store_true", help="print them as JSON instead")
    chosen = known.parse_args(arguments)
    found, left_out = _found(Path(chosen.directory))
    for path in left_out:
        print(visible(f"left out: {path / RECORD} holds no run's record"), file=sys.stderr)
    if chosen.json:
        print(visible(json.dumps(found, indent=1, ensure_ascii=False)))
        return 0
    if not found:
        print(visible(f"{chosen.directory}: no runs yet; groupwise run makes them"))
        return 0
    from rich.cells import cell_len

    lines = [HEADS, *map(_cells, found)]
    widths = [max(cell_len(line[at]) for line in lines) for at in range(len(HEADS))]
    count = _fitting(widths, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
    for line in lines:
        cells = [text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)]
        print(visible("  ".join(cells[:count]).rstrip()))
    return 0


def _fitting(widths: Sequence[int], room: int | None) -> int:
    """Returns how many columns a terminal has room for; those on the right are left out first, and two always stay."""
    count = len(widths)
    while room is not None and count > 2 and sum(widths[:count]) + 2 * (count - 1) > room:
        count -= 1
    return count


def _found(directory: Path) -> tuple[list[dict[str, Any]], list[Path]]:
    """Returns what is known of every run below, however deep, and where a run was whose record cannot be read."""
    from groupwise.view.about import about
    from groupwise.view.run_files import open_runs

    if not directory.exists() and directory == Path(HERE):
        return [], []
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "no such directory"
        raise UserError(f"{directory}: {what}; expected a directory that holds runs, such as {HERE}")
    places = sorted(path.parent for path in directory.rglob(RECORD) if path.is_file())
    kept: list[dict[str, Any]] = []
    left_out = []
    for run in open_runs(places):
        if not run.record().get("recipe"):
            if (run.directory / LOCK).exists() or (run.directory / "metrics.jsonl").exists():
                left_out.append(run.directory)
            continue  # a file of that name may be anyone's
        known = about(run)
        kept.append({name: known[name] for name in ("name", "directory", "status", "started", "stages", "result")})
    return sorted(kept, key=lambda each: each["started"] or 0.0), left_out


def _cells(run: Mapping[str, Any]) -> tuple[str, ...]:
    begun = [stage for stage in run["stages"] if stage["done"]] or run["stages"][:1]
    at = f"{begun[-1]['name']} {begun[-1]['done']}/{begun[-1]['steps']}" if begun else ""
    result, started = run["result"], run["started"]
    before = f"{result['before']['value']:.3f}" if result and not result["only"] else ""
    after = f"{result['after']['value']:.3f}" if result else ""
    when = datetime.fromtimestamp(started).strftime("%Y-%m-%d %H:%M") if isinstance(started, int | float) else ""
    return run["directory"], run["status"], at, before, after, when
