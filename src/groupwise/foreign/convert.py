"""A script that was read, as a recipe: the whole way."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace

from groupwise.errors import UserError
from groupwise.foreign import openrlhf, trl, verl
from groupwise.foreign.draft import OFF, Draft, short
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
    idle: tuple[str, ...]
    """Settings without which the recipe is the same."""
    missing: tuple[str, ...]
    """Options that the recipe needs, because the script did not tell."""


def convert(script: Script, name: str, source: str) -> Conversion:
    """Raises UserError where the script trains by a loss that there is no method for."""
    draft = TRANSLATORS[script.system](script)
    draft.idle = _idle(script, draft, name)
    text = recipe_text(draft, name, source)
    ast.parse(text)  # a fault here is ours
    missing = [option for option, found in (("model", draft.model), ("data", draft.data)) if not found]
    notes = map(tuple, (draft.assumed, draft.unplaced, script.unread, draft.idle, missing))
    return Conversion(text, *notes)


def _idle(script: Script, draft: Draft, name: str) -> list[str]:
    """Returns what was given and changes nothing: the recipe is the same without all of it. It is a default, or a value
    that its translator does not know, or an option of something that is not used."""
    text, found = recipe_text(draft, name, ""), []
    for given, value in draft.given.items():
        if given not in draft.taken or value in OFF:
            continue
        rest = replace(script, settings=[setting for setting in script.settings if setting.name != given])
        try:
            same = recipe_text(TRANSLATORS[script.system](rest), name, "") == text
        except UserError:
            continue
        if same:
            script = rest  # so that of two that say the same one stays
            found.append(f"{given}={short(value)}")
    return found
