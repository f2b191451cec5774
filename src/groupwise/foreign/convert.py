"""A script that was read, as a recipe: the whole way."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from groupwise.foreign import openrlhf, trl, verl
from groupwise.foreign.draft import Draft
from groupwise.foreign.recipe_text import recipe_text
from groupwise.foreign.script import Script

TRANSLATORS: dict[str, Callable[[Script], Draft]] = {
    "TRL": trl.translate,
    "verl": verl.translate,
    "OpenRLHF": openrlhf.translate,
}


@dataclass(frozen=True)
class Conversion:
    """A recipe's text, and what the person who runs it should know."""

    text: str
    assumed: tuple[str, ...]
    unplaced: tuple[str, ...]
    unread: tuple[str, ...]
    missing: tuple[str, ...]
    """Options that the recipe needs, because the script did not tell."""


def convert(script: Script, name: str, source: str) -> Conversion:
    """Raises UserError where the script trains by a loss that there is no method for."""
    draft = TRANSLATORS[script.system](script)
    text = recipe_text(draft, name, source)
    ast.parse(text)  # a fault here is ours
    missing = [option for option, found in (("model", draft.model), ("data", draft.data)) if not found]
    return Conversion(text, tuple(draft.assumed), tuple(draft.unplaced), tuple(script.unread), tuple(missing))
