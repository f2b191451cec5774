"""This module lets a user's file import files that lie beside it, at its top and inside its functions.

Installed modules come first: a neighbour never takes the place of one. Two files in two folders may each have a
neighbour of one name; each file gets its own.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

_folders: dict[Path, dict[str, ModuleType]] = {}
"""Each folder's own modules, by the names that its files import them under."""
_added: list[str] = []
"""Of the folders those that stand on ``sys.path`` for this alone."""
_of_globals: dict[int, tuple[dict[str, Any], Path]] = {}
"""A module's globals, by identity, and the folder that it came from."""


@contextmanager
def importable(folder: Path | None) -> Iterator[None]:
    """Makes the folder's modules importable within it, before those of other files' folders and after all else."""
    if folder is None:
        yield
        return
    known = _folders.setdefault(folder, {})
    if str(folder) not in sys.path:
        _added.append(str(folder))
    others = [entry for entry in _added if entry != str(folder)]
    sys.path[:] = [entry for entry in sys.path if entry not in _added]
    sys.path += [entry for entry in _added if entry == str(folder)] + others
    importlib.invalidate_caches()
    before = dict(sys.modules)
    sys.modules.update({name: module for name, module in known.items() if name not in before})
    try:
        yield
    finally:
        new = [name for name in sys.modules if name not in before]
        own = {name for name in new if name in known or _lies_in(name, folder)}
        known.update((name, sys.modules.pop(name)) for name in new if name in own)


def belongs_to(module: ModuleType, folder: Path) -> None:
    """Remembers that the functions of this module, and of its neighbours, may import from the folder."""
    for each in (module, *_folders.get(folder, {}).values()):
        _of_globals[id(vars(each))] = (vars(each), folder)


def folder_of(function: Callable[..., Any]) -> Path | None:
    """Returns the folder of the file that a function stands in, where that was loaded as a user's own; None of any
    other."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not hasattr(function, "__globals__"):
        function = function.__func__ if inspect.ismethod(function) else type(function).__call__
    found = _of_globals.get(id(function.__globals__)) if hasattr(function, "__globals__") else None
    return found[1] if found else None


def _lies_in(name: str, folder: Path) -> bool:
    """Says whether the top module of that dotted name is a file, or a package, right in the folder."""
    spec = vars(sys.modules.get(name.partition(".")[0], sys)).get("__spec__")
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
    return any(Path(place).parent == folder for place in places)
