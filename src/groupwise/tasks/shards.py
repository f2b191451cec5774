"""This module says which files of a folder are data, of which split each is, and why a file that is none cannot be
read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from groupwise.errors import UserError

SHARDS = (".jsonl", ".jsonl.gz", ".ndjson", ".parquet", ".arrow", ".txt")
"""What a folder of shards may hold."""
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval"), "validation"),
}
"""What names of files and folders call a split."""
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)
COMPRESSED = {".zst": "zstd -d", ".bz2": "bunzip2", ".xz": "unxz", ".zip": "unzip", ".gz": "gunzip", ".tar": "tar xf"}
_POINTER = b"version https://git-lfs.github.com/"


def shards(directory: Path, split: str) -> list[Path]:
    """Returns all data files of a folder and of those in it, by name; hidden ones and what is being written are left
    out.

    Names tell splits apart (``train-00000-of-00002.parquet``, ``test/a.jsonl``): with ``split``, its files alone; where
    nothing is said, all but those for tests and validation, if there are others. Raises UserError where there are none.
    """
    files = _data_files(directory)
    if not files:
        raise UserError(
            f"{directory}: a directory without data; expected a file, a dataset saved by Dataset.save_to_disk, or "
            f"shards in it: {', '.join(SHARDS)}"
        )
    named = {file: split_of(file.relative_to(directory)) for file in files}
    seen = sorted({name for name in named.values() if name})
    wanted = SPLITS.get(split.lower(), split) if split else "train"
    chosen = [file for file, name in named.items() if (name == wanted if split else name not in ("test", "validation"))]
    if not split and not chosen and len(seen) == 1:
        return files
    if not chosen:
        told = f"the splits {', '.join(seen)}" if seen else "no splits by their names"
        raise UserError(f"{directory}: no split {wanted}; its files are of {told}; name one as {directory}:SPLIT")
    return chosen


def left_out(source: str) -> list[str]:
    """Returns the files of a folder that ``shards`` leaves out where no split is named: those for tests and
    validation. None of what is no folder of shards."""
    directory = Path(source).expanduser()
    files = _data_files(directory)
    read = shards(directory, "") if files else []
    return [str(file.relative_to(directory)) for file in files if file not in read]


def _data_files(directory: Path) -> list[Path]:
    return [
        file
        for file in sorted(directory.rglob("*") if directory.is_dir() else ())
        if file.is_file()
        and file.name.lower().endswith(SHARDS)
        and not any(part[0] in "._" for part in file.relative_to(directory).parts)
    ]


def split_of(name: Path) -> str:
    """The split that a file's name begins with, or else that of the folder next to it."""
    for part in reversed(name.parts):
        first = _WORD.match(part)
        if first and first[0].lower() in SPLITS:
            return SPLITS[first[0].lower()]
    return ""


def refuse_pointer(path: Path) -> None:
    """Raises UserError where a file is what git leaves in place of a large one."""
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise UserError(f"{path}: a pointer of git LFS, not the file itself; fetch it with git lfs pull")


def unknown_kind(path: Path, kinds: Sequence[str]) -> str:
    """Says why a file cannot be read, and what to do where it only has to be unpacked."""
    command = COMPRESSED.get(path.suffix.lower())
    unpack = f"; unpack it first ({command})" if command else ""
    return f"{path}: unknown kind of file; expected {', '.join(kinds)}{unpack}"
