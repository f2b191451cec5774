"""This module finds the program in a completion's text, and joins it to what the row has begun."""

from __future__ import annotations

import re

from groupwise.errors import UserError
from groupwise.rewards.answers import TEXT_CHARACTERS
from groupwise.types import Example

_FENCE = re.compile(r"^[ \t]*```[^\n]*$", re.MULTILINE)
_TOP_LEVEL = re.compile(r"^(?:class |def |async def |@|#|if |print\()", re.MULTILINE)
_DEFINED = re.compile(r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", re.MULTILINE)


def program(text: str) -> str:
    """The last fenced block that is closed, or all of the text where nothing is fenced."""
    text = text[-TEXT_CHARACTERS:]
    fences = list(_FENCE.finditer(text))
    if len(fences) < 2:
        return text if not fences else text[fences[0].end() :]
    last = len(fences) // 2 * 2
    return text[fences[last - 2].end() : fences[last - 1].start()]


def begun_with(example: Example, column: str, source: str) -> str:
    """The program with its beginning, a text of the row, before it.

    A source that defines again what the beginning ends with stands behind it, so that the beginning's imports and other
    functions are there; any other goes on with it, up to where something new begins at the left edge. Raises UserError
    where the row has no such text.
    """
    beginning = example.columns.get(column)
    if not isinstance(beginning, str):
        raise UserError(f"{example.id}: no text in column '{column}', with which programs begin there")
    names = _DEFINED.findall(beginning)
    if not source.strip() or (names and names[-1] in _DEFINED.findall(source)):
        return f"{beginning.rstrip()}\n\n{source}" if source.strip() else source
    end = _TOP_LEVEL.search(source)
    return beginning + (source[: end.start()] if end else source)
