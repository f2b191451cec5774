"""This is ``groupwise corpus``: it makes a training corpus out of a crawl, and keeps benchmark questions out of any
data."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence

from groupwise.errors import UserError

PARTS = {
    "build": "a crawl becomes a corpus: text with its formulas, without copies, chosen in rounds, decontaminated",
    "domains": "domains of which much was collected, and a file in which a person says what is wanted",
    "look": "what was kept and what was dropped, and why, page by page",
    "check": "benchmark questions in any data file: SFT, RL, pairs or plain text; a table of hits",
}
USAGE = """usage: groupwise corpus PART ...

Makes a training corpus of a web crawl, and keeps benchmark questions out of any data.

parts:
{parts}

examples:
  groupwise corpus build --crawl crawl/ --seed seed.txt --against gsm8k cmath --out corpus
  groupwise corpus domains corpus
  groupwise corpus look corpus --reason "near copy"
  groupwise corpus check train.jsonl --against gsm8k=test.jsonl mine.jsonl

groupwise corpus PART --help tells more of each.
"""


def execute(arguments: Sequence[str]) -> int:
    """Runs one of the commands about corpora."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE.format(parts="\n".join(f"  {name:<8} {summary}" for name, summary in PARTS.items())), end="")
        return 0
    name = arguments[0]
    if name not in PARTS:
        near = difflib.get_close_matches(name, PARTS, n=1)
        hint = f"perhaps you meant {near[0]}" if near else f"there are {', '.join(PARTS)}"
        raise UserError(f"unknown part {name}: {hint}")
    part = importlib.import_module(f"groupwise.commands.corpus_{name}")
    return int(part.execute(arguments[1:]))
