"""This module runs a person's own file, and lends its names to whoever reads the hints of classes that it defines."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

RECIPE_MODULE = "groupwise_recipe"
"""The name that a file is run under."""

_names: dict[str, Any] = {}
"""What the files that were run define."""


def namespace_of(path: Path | str) -> dict[str, Any]:
    """Runs the file, and returns what it defines. Raises whatever it raises."""
    found = runpy.run_path(str(path), run_name=RECIPE_MODULE)
    _names.update({name: value for name, value in found.items() if not name.startswith("__")})
    return found


@contextmanager
def without_source() -> Iterator[None]:
    """Tells tyro, which looks for what a class says of its fields, that a recipe file's own classes have no source: the
    file was run, and is no module. What their hints name is that file's."""
    module = ModuleType(RECIPE_MODULE)
    vars(module).update(_names | {"__name__": RECIPE_MODULE, "__file__": f"<{RECIPE_MODULE}>"})
    sys.modules[RECIPE_MODULE] = module
    try:
        yield
    finally:
        del sys.modules[RECIPE_MODULE]
