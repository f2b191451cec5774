"""This module reads values that a text spells as JSON, as files of plain text must hold them."""

from __future__ import annotations

import json
from typing import Any


def structure_of(value: Any) -> Any:
    """Returns the list or object that a text spells as JSON, as csv files must; every other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
