"""This module reads values that a text spells as JSON or in Python's way, as files of plain text must hold them."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_PYTHON = re.compile(r"\s*+(?:[\[{]\s*+)++['\"]|\s*+\[[^'\"]*\]\s*$")
"""``['a']`` and ``{'a': 1}``: what pandas writes into csv; and lists of numbers and None."""
_NOT_ESCAPED = re.compile(
    r"(?<!\\)(?:\\\\)*+\\(?:(?![\\'\"ntrxuU])|(?:t(?:heta|imes|ext|an|frac)|n(?:eq|abla)|r(?:ho|ight))(?![a-z]))"
)
"""A backslash that Python would have doubled: ``['\\frac12']`` was written by hand, and is LaTeX."""
_SIDE_BY_SIDE = re.compile(r"['\"]\s++['\"]")
"""``['a' 'b']``, as NumPy prints texts, is no list of one text."""


def structure_of(value: Any) -> Any:
    """Returns the list or object that a text spells as JSON or in Python's way, as csv files must; every other value as
    it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return _python(value)


def _python(text: str) -> Any:
    """Reads literals alone: nothing of the text is run."""
    if not _PYTHON.match(text) or _SIDE_BY_SIDE.search(text) or _NOT_ESCAPED.search(text):
        return text
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    return found if isinstance(found, list | dict) and _is_plain(found) else text


def _is_plain(value: Any) -> bool:
    """Says whether a value is made of what JSON has, so that whoever reads the row can write it down again."""
    if isinstance(value, dict):
        return all(isinstance(name, str | int) and _is_plain(one) for name, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)
