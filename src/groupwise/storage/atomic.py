"""This module makes directories and files that are either complete or not there, whatever kills the process that writes
them."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from groupwise.errors import UserError
from groupwise.output.masking import masked
from groupwise.storage.manifest import write_manifest

RECORD = "groupwise_run.json"
"""The resolved recipe, machine and versions, beside every model that a run writes."""

PARTIAL, OLD, GONE = ".partial-", ".old-", ".gone-"
FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file is too big",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
}
J = TypeVar("J")
SLACK_BYTES = 64 << 20
"""For all that is no tensor: tokenizer, config, manifest."""


@contextmanager
def complete_directory(final: Path) -> Iterator[Path]:
    """Gives a fresh directory to write into that takes the name ``final`` only when everything in it is on the disk,
    with a manifest of it. Until then ``final`` is what it was.

    Raises UserError where the disk is full; what was written is removed then.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.parent / f"{PARTIAL}{final.name}"
    remove_any(partial)
    partial.mkdir()
    try:
        with full_disk_named(final):
            yield partial
            write_manifest(partial)
            for path in (*partial.rglob("*"), partial):
                sync(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _take_name(partial, final)


def _take_name(partial: Path, final: Path) -> None:
    """Killed in between, ``put_right`` brings the old one back."""
    old = final.parent / f"{OLD}{final.name}"
    if final.exists():
        remove_any(old)
        os.replace(final, old)
    os.replace(partial, final)
    sync(final.parent)
    remove_any(old)


def remove_directory(path: Path) -> None:
    """Removes a directory so that at no instant half of it is there under its name."""
    gone = path.parent / f"{GONE}{path.name}"
    remove_any(gone)
    os.replace(path, gone)
    remove_any(gone)


def remove_any(path: Path) -> None:
    """Removes a directory, a file or a link; what a link leads to stays. Nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put_right(parent: Path) -> None:
    """Mends what a killed process left among the directories of ``parent``: a directory whose successor never took its
    name has it again, and what is half written or half removed goes."""
    for path in parent.glob(f"{OLD}*"):
        final = parent / path.name.removeprefix(OLD)
        if final.exists() or path.is_symlink():
            remove_any(path)
        else:
            os.replace(path, final)
    for path in (*parent.glob(f"{PARTIAL}*"), *parent.glob(f"{GONE}*")):
        remove_any(path)


def write_atomically(path: Path, text: str) -> None:
    """A file that holds either what it held or all of ``text``, keys and passwords masked."""
    partial = path.with_name(f"{PARTIAL}{path.name}")
    with open_new(partial) as file:
        file.write(masked(text).encode("utf-8", "backslashreplace"))  # as JSON writes half a surrogate pair
    sync(partial)
    os.replace(partial, path)


def open_new(path: Path) -> BinaryIO:
    """An empty file to write, in place of what has that name: a link there is removed, not followed."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, at once or not at all."""
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, kind: type[J]) -> J | None:
    """Returns what a file holds, where that is of the kind; None where there is no file, or it is cut, zeros or
    else's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, kind) else None


def sync(path: Path) -> None:
    """Makes what is in it reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(directory: Path, tensor_bytes: int, what: str) -> None:
    """Raises UserError where the disk under ``directory`` has no room for so much and what stands beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    needed, free = tensor_bytes + SLACK_BYTES, shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(
            f"{directory}: {what} needs {_megabytes(tensor_bytes)} for its tensors, {_megabytes(SLACK_BYTES)} for all "
            f"else at most, and {_megabytes(free)} are free; nothing was written and "
            f"what was saved before is whole; make {_megabytes(needed - free)} of room and run the same command again"
        )


@contextmanager
def full_disk_named(place: Path) -> Iterator[None]:
    """An error of a disk without room becomes a UserError that names ``place``; those of libraries in
    Rust too, which have a type of their own (safetensors) or none (tokenizers)."""
    try:
        yield
    except Exception as error:
        why = _fullness(error)
        if why is None:
            raise
        raise UserError(
            f"{place}: could not be written, {why}; what was saved before is whole; make room, or choose a place that "
            "can be written (--out), and run the same command again"
        ) from error


def _fullness(error: Exception) -> str | None:
    if isinstance(error, OSError) and error.errno is not None:
        return FULL.get(error.errno)
    return next((why for number, why in FULL.items() if f"(os error {number})" in str(error)), None)


def _megabytes(count: int) -> str:
    return f"{-(-count // 10**6):,} MB"
