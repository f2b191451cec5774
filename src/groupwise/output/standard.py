"""This module writes out what a command printed: Python itself does so when a process ends, where nothing can be said
any more of a disk that is full or of a reader that has gone."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def write_out() -> None:
    """Writes what was printed and lies in memory yet. Raises OSError where that is not possible."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon() -> None:
    """Forgets what was printed and cannot be written, so that no second attempt is made at the end of the process."""
    try:
        write_out()
    except OSError:
        with suppress(OSError, ValueError):  # a stream that is no file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
