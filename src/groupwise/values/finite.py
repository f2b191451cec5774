"""This module says what is a number that a float can be, whoever wrote the file it was read from. It imports
nothing."""

from __future__ import annotations

import math
from typing import Any


def is_finite(value: Any) -> bool:
    """Says whether a value is a finite number; a whole number beyond all floats is none, nor are True and False."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
