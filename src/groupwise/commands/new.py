"""This is ``groupwise new``: it writes a small task of one's own, all running."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from groupwise.commands.parser import parser
from groupwise.output.printable import visible


def execute(arguments: Sequence[str]) -> int:
    """Writes the files and says what to do with them."""
    known = parser(
        "new",
        "Write a small task of your own: data, reward, recipe, test, all running.",
        "  groupwise new mytask\n  groupwise run mytask/recipe.py",
    )
    known.add_argument("name", help="of the task and of the directory that is made")
    chosen = known.parse_args(arguments)
    from groupwise.commands.scaffold import new

    for path in new(chosen.name, Path()):
        print(visible(str(path)))
    print(visible(f"\nnow: groupwise run {chosen.name}/recipe.py"))
    return 0
