"""This module writes answers as JSON that every browser reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def encoded(found: Any) -> str:
    """Returns JSON; a number that it does not have is null."""
    try:
        return json.dumps(found, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(finite(found), allow_nan=False, separators=(",", ":"))


def finite(value: Any) -> Any:
    """Returns plain data with None for every number that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [finite(each) for each in value]
    return value
