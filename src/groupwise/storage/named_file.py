"""This module writes a file that a person named: whole or not at all, and into a pipe or a device as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.output.masking import masked
from groupwise.storage.atomic import PARTIAL, write_atomically


def refuse_place(path: Path, option: str = "") -> None:
    """Raises UserError where no file of that name can be: it is a directory, or lies in none. ``option`` is named
    before the place, such as ``--json``."""
    named = f"{option} {path}".lstrip()
    if path.is_dir():
        raise UserError(f"{named}: is a directory; expected the name of a file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{named}: no such directory; make it first")


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Makes an error of the system while ``path`` is written a UserError that names it; what is half written goes."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            path.with_name(f"{PARTIAL}{path.name}").unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from None


def write_named(path: Path, text: str) -> None:
    """Writes ``text`` there, keys and passwords masked. A link to a file is followed, and a pipe or a device, such as
    /dev/stdout, stays what it is. Raises UserError where nothing can be written."""
    refuse_place(path)
    with errors_named(path):
        if path.exists() and not path.is_file():
            path.write_text(masked(text), encoding="utf-8", errors="backslashreplace")
        else:
            write_atomically(path.resolve() if path.is_symlink() else path, text)


def write_named_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, as ``write_named`` does."""
    write_named(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
