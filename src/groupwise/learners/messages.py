"""This module carries values to other processes: a class that a user's own file defines is found there by that file."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from groupwise.errors import UserError


class Modules(dict[str, tuple[str, str]]):
    """These are the files, and their hashes, of modules that their names alone do not lead to: recipe files, scripts,
    tests."""


def packed(message: Any) -> bytes:
    """Returns a message, and where the modules lie that it needs. Raises UserError for what can't travel."""
    try:
        data = pickle.dumps(message)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UserError(
            f"learner FSDP: the other processes can't be told of this algorithm ({error}); expected its classes and "
            "functions at the top level of a file"
        ) from error
    return pickle.dumps((_files(data), data))


def unpacked(data: bytes, known: Modules) -> Any:
    """Returns the message; ``known`` gains the modules that it came with. Raises UserError where such a file is another
    one here."""
    files, message = pickle.loads(data)
    known.update(files)
    return _Reader(io.BytesIO(message), known).load()


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, known: Modules) -> None:
        super().__init__(stream)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        if module in self._known:
            file, digest = self._known[module]
            if getattr(sys.modules.get(module), "__file__", None) != file:
                sys.modules[module] = _loaded(module, file, digest)
        return super().find_class(module, name)


def _loaded(name: str, file: str, digest: str) -> ModuleType:
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{file}: no such file; expected the same in every process")
    if _digest(path) != digest:
        raise UserError(f"{file}: another file than rank 0's; expected the same in every process")
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.path.insert(0, str(path.parent))  # as where it was first run: what lies beside it can be imported
    made = module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


def _files(data: bytes) -> dict[str, tuple[str, str]]:
    """Of the modules named in a pickle, those that can't be imported by name, and ``__main__``."""
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    named = {name: file for name, file in files.items() if file and "." not in name and name.encode() in data}
    wanted = {name: file for name, file in named.items() if name == "__main__" or PathFinder.find_spec(name) is None}
    return {name: (str(Path(file).resolve()), _digest(Path(file))) for name, file in wanted.items()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""
