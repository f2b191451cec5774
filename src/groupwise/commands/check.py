"""This is ``groupwise check``: it says what a recipe would do, and what would break, before anything is spent."""

from __future__ import annotations

import shutil
import sys
import textwrap
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groupwise.commands.check_plan import add_plan_options, print_plan
from groupwise.config.ranges import refuse_number
from groupwise.output.counting import counted
from groupwise.output.printable import visible
from groupwise.storage.named_file import refuse_place, write_named_json

if TYPE_CHECKING:
    from groupwise.preflight import Finding

BREAKS = 1
"""Exit code where something would break."""
LABEL, MOST_WIDTH = 12, 118
EXAMPLES = """  groupwise check examples/quickstart.py
  groupwise check examples/quickstart.py --out runs/quickstart   (with the models of stages that have run)
  groupwise check grpo --model PATH --data train.jsonl --reward math
  groupwise check grpo --model PATH --data train.jsonl --reward math --processes 64 --gpu h100-80gb"""
USAGE = "groupwise check RECIPE.py | METHOD | FILE.toml [as for groupwise run] [--limit_seconds X] [--json FILE]"


def execute(arguments: Sequence[str]) -> int:
    """Checks, prints what was found with problems first, and writes --json. Nothing is written into runs/."""
    from groupwise.commands import run as running
    from groupwise.commands.request import HELP, read_request

    if not arguments or arguments[0].removeprefix("--") in HELP:
        _parser(for_method=True).print_help()
        return 0
    request = read_request(arguments, _parser, USAGE)
    recipe, request, _, others = running.read_recipe(request)
    if recipe is None or request.help:
        return 0 if recipe is None else running.show_help(recipe, request, _parser)
    chosen = request.chosen
    refuse_number("--limit_seconds", chosen.limit_seconds, "(0, inf)")
    if chosen.json:
        refuse_place(Path(chosen.json), "--json")
    recipe = request.tuned(recipe, f"groupwise check {chosen.recipe}", others)
    if chosen.gpu is not None:
        return print_plan(recipe, chosen)
    from groupwise.preflight import check_run

    found = check_run(recipe, Path(chosen.out) if chosen.out else None, chosen.limit_seconds, _told())
    _print(recipe.name, found, [stage.name for stage in recipe.stages])
    if chosen.json:
        write_named_json(Path(chosen.json), {"run": recipe.name, "findings": [each.to_json() for each in found]})
    return BREAKS if any(each.kind == "problem" for each in found) else 0


def _parser(for_method: bool) -> ArgumentParser:
    from groupwise.commands import run as running

    known = running._parser(for_method)
    known.prog, known.usage = "groupwise check", USAGE
    known.description = (
        "What a recipe would do on this model, data and machine, and what would break. Nothing is trained."
    )
    known.epilog = f"examples:\n{EXAMPLES}"
    known.add_argument(
        "--limit_seconds", type=float, metavar="X", default=20.0, help="for each part that samples or computes (20)"
    )
    add_plan_options(known)
    known.add_argument("--json", metavar="FILE", help="also write every finding with its numbers")
    return known


def _told() -> Callable[[str], None]:
    """Says on a terminal what is being tried."""
    shown = sys.stderr.isatty()

    def told(text: str) -> None:
        if shown:
            print(f"\r\x1b[Kchecking {text}\r", end="", file=sys.stderr, flush=True)

    return told


def _print(name: str, found: Sequence[Finding], stages: Sequence[str]) -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    problems = [each for each in found if each.kind == "problem"]
    remarks = [each for each in found if each.kind == "remark"]
    for title, chosen in (("Would break", problems), ("To know", remarks)):
        if chosen:
            print(visible(title))
            for (part, words), where in _alike(chosen).items():
                _line("", f"{', '.join(each or name for each in where)}: {part}: {words}", bullet="- ")
            print()
    facts = [each for each in found if each.kind == "fact"]
    alike = _alike(facts)
    for stage in stages:
        own = [each for each in facts if each.stage == stage]
        if own:
            print(visible(stage))
        for each in own:
            first = alike[each.part, each.words][0]
            _line(each.part, each.words if first == stage else f"as in {first}")
    print(visible(f"\n{_verdict(len(problems))}"))


def _alike(found: Sequence[Finding]) -> dict[tuple[str, str], list[str]]:
    """The stages of which each thing is said, by part and words."""
    where: dict[tuple[str, str], list[str]] = {}
    for each in found:
        where.setdefault((each.part, each.words), []).append(each.stage)
    return where


def _verdict(problems: int) -> str:
    if not problems:
        return "Nothing was found that would break."
    return f"{counted(problems, 'problem')}: mend what stands first, and check again."


def _line(label: str, words: str, bullet: str = "") -> None:
    """Prints a line, wrapped, with nothing in it that a terminal would obey."""
    width = min(MOST_WIDTH, shutil.get_terminal_size((MOST_WIDTH, 40)).columns)
    indent = "  " + (" " * len(bullet) if bullet else " " * LABEL)
    first = f"  {bullet}" if bullet else f"  {label:<{LABEL}}"
    text = visible(" ".join(words.split()))
    print(textwrap.fill(text, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False))
