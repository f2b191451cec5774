"""This module reads values that a text spells as JSON or in Python's way, as files of plain text must hold them."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_PYTHON = re.compile(r"\s*+(?:[\[{]\s*+)++['\"]|\s*+\[[^'\"]*\]\s*$")
"""``['a']`` and ``{'a': 1}``: what pandas writes into csv; and lists of numbers and None."""


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
    if not _PYTHON.match(text):
        return text
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    return found if isinstance(found, list | dict) else text
