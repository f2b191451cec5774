"""This is ``groupwise resume``: it goes on with a stopped run by the command that began it, which its record keeps."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from groupwise.commands.flags import flags_of, over, words_of
from groupwise.commands.known_run import known_run
from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.output.masking import MASK
from groupwise.output.printable import visible

EXAMPLES = """  groupwise resume runs/quickstart
  groupwise resume runs/grpo-sums --steps 200

What follows the directory takes the place of options of the command that began the run."""
OWN = ("fresh", "out", "dry_run", "write_options")
"""Options of the first start alone."""
ELSEWHERE = {
    "out": "a run goes on in its own directory; groupwise run ... --out DIR begins another one",
    "fresh": "resume goes on with what is there; groupwise run ... --fresh starts over",
}


def execute(arguments: Sequence[str]) -> int:
    """Runs the recorded command where it was given."""
    if not arguments or arguments[0] in ("-h", "--help"):
        _parser().print_help()
        return 0
    chosen = _parser().parse_args(arguments[:1])
    words, where = command_of(Path(chosen.run), arguments[1:])
    if not where.is_dir():
        raise UserError(
            f"{chosen.run}: was begun in {where}, which is no longer there, and its files are named from there; give "
            "the command itself: groupwise run ... --out " + chosen.run
        )
    from groupwise.commands.run import execute as run

    print(visible(f"groupwise run {' '.join(words)}"), file=sys.stderr)
    before = Path.cwd()
    os.chdir(where)
    try:
        return run(words)
    finally:
        os.chdir(before)


def command_of(directory: Path, more: Sequence[str] = ()) -> tuple[list[str], Path]:
    """Returns the words behind ``groupwise run`` that go on with the run of a directory, and where they are given.

    Raises UserError where the run's record keeps no command, or one with a secret in it.
    """
    _, record = known_run(directory)
    kept = record.get("command")
    if not isinstance(kept, dict) or not isinstance(kept.get("words"), list):
        raise UserError(
            f"{directory}: was begun from Python, or by an older version, so no command is kept; run the same script "
            "or command again, and it goes on"
        )
    words = [str(word) for word in kept["words"]]
    if any(MASK in word for word in words):
        raise UserError(f"{directory}: its command had a secret in it, which is not kept; give the command again")
    if unasked := flags_of(more)[0]:
        raise UserError(f"unexpected {unasked[0]!r}; expected options behind the directory, such as --steps 200")
    told = flags_of(more)[1]
    for flag in told:
        if flag.name in ELSEWHERE:
            raise UserError(f"--{flag.name}: {ELSEWHERE[flag.name]}")
    before, flags = flags_of(words)
    own = over([flag for flag in flags if flag.name not in OWN], told)
    return [*before, *words_of(own), f"--out={directory.resolve()}"], Path(str(kept.get("directory", ".")))


def _parser() -> ArgumentParser:
    known = parser("resume", "Go on with a stopped run.", EXAMPLES, "groupwise resume RUN [options of groupwise run]")
    known.add_argument("run", metavar="RUN", help="the directory of a run")
    return known
