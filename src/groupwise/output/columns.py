"""This module breaks lines between words where a terminal has room for so many columns."""

from __future__ import annotations

import shutil
import sys
import textwrap

FEWEST = 40
"""Columns: a narrower terminal breaks lines by itself."""


def room(most: int) -> int:
    """Returns how many columns a line on standard output may have, at most ``most``: in a file that many, on a terminal
    as many as it has."""
    watched = sys.stdout is not None and sys.stdout.isatty()
    return max(FEWEST, min(most, shutil.get_terminal_size().columns)) if watched else most


def hanging(head: str, text: str, columns: int) -> str:
    """Returns ``text`` behind ``head``, in lines of so many columns that begin below each other, where there is room
    for half of them; else four columns in, below the head. No word is broken."""
    inside = " " * (len(head) if len(head) <= columns // 2 else 4)
    lines = textwrap.wrap(
        text,
        columns,
        initial_indent=head if len(head) <= columns // 2 else inside,
        subsequent_indent=inside,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines if len(head) <= columns // 2 else [head.rstrip(), *lines])
