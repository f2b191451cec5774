"""This module says how far an evaluation is."""

from __future__ import annotations

import itertools
from collections.abc import Callable

Progress = Callable[[int, int], None]
"""``(completions done, completions in all)``."""


def counter(on_progress: Progress | None, total: int) -> Callable[[], None]:
    """Says at each call how many of ``total`` are done."""
    done = itertools.count(1)
    return (lambda: on_progress(next(done), total)) if on_progress else (lambda: None)
