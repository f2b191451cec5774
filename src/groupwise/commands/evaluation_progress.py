"""This module shows how far ``groupwise evaluate`` has come while it goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from groupwise.output.printable import visible


@contextmanager
def progress(words: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, elsewhere one line; yields what says ``(done, total)``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        print(visible(words), file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        bar = shown.add_task(words, total=None)
        yield lambda at, total: shown.update(bar, completed=at, total=total)
