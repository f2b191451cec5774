"""groupwise methods: what ships, a line each."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence

from groupwise.algorithm import Algorithm
from groupwise.cli import parser
from groupwise.errors import UserError


def execute(arguments: Sequence[str]) -> int:
    """Prints the table."""
    parser("methods", "The methods that ship, a line each.", "  groupwise methods").parse_args(arguments)
    for name in names():
        module = importlib.import_module(f"groupwise.recipes.{name}")
        print(f"{name:<12} {(module.__doc__ or '').strip().splitlines()[0]}")
    return 0


def names() -> list[str]:
    """Of every recipe."""
    from groupwise import recipes

    return list(recipes.__all__)


def method(name: str) -> Algorithm:
    """The recipe of that name. Raises UserError, with the nearest one, where there is none."""
    from groupwise import recipes

    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f": perhaps you meant {near[0]}" if near else f"; there are {', '.join(names())}"
        raise UserError(f"{name} is neither a recipe file (.py) nor a method{hint}")
    found: Algorithm = vars(recipes)[name]
    return found
