"""This is ``groupwise doctor machine``: it says what this machine has, what is slower on it, and why."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from groupwise.commands.parser import parser
from groupwise.output.printable import visible

EXAMPLES = """  groupwise doctor machine
  groupwise doctor machine --json"""


def execute(arguments: Sequence[str]) -> int:
    """Prints a line a fact, and under it what is slower for it."""
    known = parser("doctor", "What a machine has, and what is slower on it: for reports of faults.", EXAMPLES)
    known.add_argument(
        "subject", metavar="machine", nargs="?", default="machine", choices=["machine"], help="this machine (machine)"
    )
    known.add_argument("--json", action="store_true", help="print it as JSON instead")
    chosen = known.parse_args(arguments)
    from groupwise.preflight.machine import facts

    found = facts()
    if chosen.json:
        print(visible(json.dumps([asdict(fact) for fact in found], indent=1, ensure_ascii=False)))
        return 0
    room = max(20, shutil.get_terminal_size((110, 24)).columns)
    first = max(len(fact.name) for fact in found) + 2
    for fact in found:
        _print(fact.name.ljust(first), fact.words, room)
        if fact.slower:
            _print(" " * first + "! ", fact.slower, room)
    return 0


def _print(head: str, words: str, room: int) -> None:
    lines = textwrap.wrap(
        visible(words), max(20, room - len(head)), break_long_words=False, break_on_hyphens=False
    ) or [""]
    for number, line in enumerate(lines):
        print(f"{head if number == 0 else ' ' * len(head)}{line}")
