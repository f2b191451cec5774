"""This is ``groupwise methods``: it prints what ships, a line each."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Sequence

from groupwise.algorithm import Algorithm
from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.foreign import CONVERT, convertible
from groupwise.output.columns import hanging, room

LONGEST_LINE = 1000
"""Columns, in a file: a method has one line there."""


def execute(arguments: Sequence[str]) -> int:
    """Prints every recipe's name and the first line of its documentation."""
    parser("methods", "The methods that ship, a line each.", "  groupwise methods").parse_args(arguments)
    width, columns = max(map(len, names())), room(LONGEST_LINE)
    for name in names():
        first = documentation(name).splitlines()[0]
        print(hanging(f"{name:<{width}}  ", first, columns))
    return 0


def names() -> list[str]:
    """Returns the names of every recipe."""
    from groupwise import recipes

    return list(recipes.__all__)


def method(name: str) -> Algorithm:
    """Returns the recipe of that name. Raises UserError, with the nearest one, where there is none."""
    from groupwise import recipes

    found: Algorithm = vars(recipes)[canonical(name)]
    return found


def canonical(name: str) -> str:
    """Returns the recipe's name, also of a paper's spelling: Dr. GRPO, REINFORCE++, GSPO-token.

    Raises UserError, with the nearest one, where there is none.
    """
    known = {_letters(known): known for known in names()}
    letters = _letters(name)
    if letters in known:
        return known[letters]
    swapped = [word for word in known if sorted(word) == sorted(letters)]
    near = swapped or difflib.get_close_matches(letters, known, n=1)
    if convertible(name):
        raise UserError(f"{name} is neither a recipe file (.py) nor a method; {CONVERT}")
    hint = f": perhaps you meant {known[near[0]]}" if near else f"; there are {', '.join(names())}"
    raise UserError(f"{name} is neither a recipe file (.py) nor a method{hint}")


def documentation(name: str) -> str:
    """Returns the docstring of the recipe's module: what it is, how it differs, when to use it, what goes wrong."""
    return (importlib.import_module(f"groupwise.recipes.{name}").__doc__ or "").strip()


def _letters(name: str) -> str:
    """Returns what is left of a name without its punctuation: ``++`` and ``_pp`` are plus plus."""
    spelt = re.sub(r"\+\+|_pp(?=_|$)", "plusplus", name.lower())
    return "".join(letter for letter in spelt if letter.isalnum())
