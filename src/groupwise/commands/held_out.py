"""This module reads what ``--held_out`` names: a fraction of the data, a file, or several files by names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from groupwise.errors import UserError

FRACTION = 0.1
"""Of the data, where nothing is named."""
HELP = "held-out rows: a FILE, NAME=FILE (repeatable, each shown by its name), or a fraction of --data (0.1)"


def read_held_out(given: Sequence[str]) -> tuple[str | dict[str, str] | None, float]:
    """The file, or files by name, and the fraction of the data where there is none.

    A file without a name has that of the file. Raises UserError for a name twice, and for a fraction beside files.
    """
    if not given:
        return None, FRACTION
    fractions = [value for value in (_number(text) for text in given) if value is not None]
    if fractions and len(given) > 1:
        raise UserError(f"--held_out {' '.join(given)}: a fraction of --data stands alone; expected it, or files")
    if fractions:
        return None, fractions[0]
    named: dict[str, str] = {}
    for text in given:
        name, file = _named(text)
        if name in named:
            raise UserError(
                f"--held_out {text}: a set named {name} is there already ({named[name]}); expected another name, as in "
                f"--held_out other={file}"
            )
        named[name] = file
    return (given[0] if len(given) == 1 and _named(given[0])[1] == given[0] else named), 0.0


def _named(text: str) -> tuple[str, str]:
    """Reads ``NAME=FILE``; a path that has a = in it and is there is a file."""
    name, equals, file = text.partition("=")
    if not equals or Path(text).exists() or "/" in name:
        return Path(text).name.partition(".")[0], text
    if not name or not file:
        raise UserError(f"--held_out {text}: expected FILE, NAME=FILE or a fraction such as 0.1")
    return name, file


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
