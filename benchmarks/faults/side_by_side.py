"""Parts of a part at the same time, as many as there are cores: each in a child, its result in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from forked import ended, spawned

CORES = max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2)
RESULT = "result.json"


def side_by_side(works: Sequence[Callable[[Path], Any]], place: Path) -> list[Any]:
    """What each made of a directory of its own, in order. Raises RuntimeError for one that failed."""
    children = [spawned(partial(_kept, work), place / str(number)) for number, work in enumerate(works)]
    statuses = [ended(child) for child in children]
    for number, status in enumerate(statuses):
        if status:
            raise RuntimeError((place / str(number) / "said.txt").read_text()[-1000:])
    return [json.loads((place / str(number) / RESULT).read_text()) for number in range(len(works))]


def _kept(work: Callable[[Path], Any]) -> None:
    here = Path.cwd()
    found = work(here)
    (here / RESULT).write_text(json.dumps(found))
