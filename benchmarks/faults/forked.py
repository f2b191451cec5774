"""Children of one process that has imported everything and computed nothing: a run starts in milliseconds."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path


def spawned(work: Callable[[], None], place: Path) -> int:
    """The id of a child that does ``work`` in the directory ``place`` and ends; what it says goes to ``said.txt``."""
    place.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.chdir(place)
        said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        work()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def ended(child: int) -> int:
    """Its exit status, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work: Callable[[], None], place: Path) -> int:
    """``spawned`` and ``ended``."""
    return ended(spawned(work, place))


def import_all(names: list[str]) -> None:
    """What a first child had loaded when it was done."""
    for name in names:
        if name not in sys.modules and not name.startswith("torch._dynamo"):
            try:
                importlib.import_module(name)
            except Exception:  # a module that only its own package can load: the children load it themselves
                continue
