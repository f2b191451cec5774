"""This module reads rows out of files: jsonl (gzipped or not), json, csv, parquet, saved datasets and the Hugging Face
hub.

A row comes with its id as error messages say it: ``train.jsonl:17`` and ``train.csv:17`` are lines of the file, counted
from 1; ``train.json#0``, ``train.parquet#0`` and ``openai/gsm8k:train#0`` are rows, counted from 0.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.storage import hub
from groupwise.tasks.expansion import (
    ROW_BYTES,
    arrow_batches,
    limit_row_bytes,
    parquet_batches,
    refuse_growth,
    refuse_row,
    refuse_saved,
    row_size,
)
from groupwise.tasks.shards import COMPRESSED, refuse_pointer, shards, unknown_kind

Row = tuple[str, dict[str, Any]]
"""``(id, {column: value})``."""

Rows = Iterable[dict[str, Any]]

NAMES_A_FILE = frozenset(
    {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".txt", *COMPRESSED}
)
"""Ends of what is looked for here, and never on the hub."""
SAVED = ("dataset_info.json", "dataset_dict.json")
"""One of them lies in a folder that ``Dataset.save_to_disk`` wrote."""
NEWLINE = b"\n"

_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<config>[\w.-]+))?(?::(?P<split>[^/]+))?")


def read_rows(source: str | Path) -> list[Row]:
    """Reads all rows of a file, of a directory made by ``Dataset.save_to_disk``, or of a dataset of the hub.

    ``source`` ends in ``.jsonl``, ``.ndjson``, ``.jsonl.gz``, ``.json`` (a list of objects, an object with one list in
    it, or lines after all), ``.csv``, ``.tsv``, ``.parquet``, ``.arrow``, ``.feather`` or ``.txt`` (one row, whose
    ``text`` is the whole file); or is a directory of
    ``shards``, one that was saved, ``directory:split``, or a name of the hub, ``org/name[/config][:split]``, where the
    split is train unless said. Blank lines are skipped; a byte order mark and
    CRLF are no matter.

    Raises UserError naming file and line for what cannot be read: a file that is missing, empty, truncated or not
    UTF-8, a line that is not JSON, a row that is not an object or holds too much, fields that do not match a csv's
    header.
    """
    path = Path(source).expanduser()
    rows = _read_file(path) if path.is_file() else _read_dataset(str(source), path)
    if not rows:
        raise UserError(f"{source}: no rows; expected at least one")
    for name, row in rows:
        refuse_row(row_size(row), f"{path.parent / name}" if path.is_file() else name)
    return rows


def _read_file(path: Path) -> list[Row]:
    readers = {".jsonl": _read_lines, ".jsonl.gz": _read_lines, ".json": _read_json, ".csv": _read_csv}
    readers |= {".ndjson": _read_lines, ".tsv": _read_csv, ".arrow": _read_arrow, ".feather": _read_arrow}
    readers[".parquet"] = _read_parquet
    readers[".txt"] = _read_text
    reader = next((read for suffix, read in readers.items() if path.name.lower().endswith(suffix)), None)
    if reader is None:
        raise UserError(unknown_kind(path, list(readers)))
    try:
        refuse_pointer(path)
        return reader(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({_shown(error.strerror or str(error))}); check the file") from error


def _read_lines(path: Path) -> list[Row]:
    return [
        (f"{path.name}:{number}", _object(_parse(text, f"{path}:{number}"), f"{path}:{number}"))
        for number, text in _lines(path)
        if text.strip()
    ]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = read = 0
    size = path.stat().st_size
    most = limit_row_bytes() + 1
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(most), b""), 1):
                refuse_row(len(line), f"{path}:{number}")
                read += max(len(line), ROW_BYTES) if line.strip() else len(line)
                refuse_growth(read, path, size)
                yield number, _decode(line, path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: broken gzip after line {number} ({error}); fetch or write the file again") from error


def _decode(data: bytes, path: Path, line: int = 1) -> str:
    """``line``: where the data begins."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{path}:{line + data.count(NEWLINE, 0, error.start)}"
        raise UserError(f"{where}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8") from error


def _read_text(path: Path) -> list[Row]:
    """A document: the whole file."""
    text = _decode(path.read_bytes(), path)
    return [(f"{path.name}#0", {"text": text})] if text.strip() else []


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON: {error.msg} at column {error.colno} of {_shown(text)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: JSON beyond what can be read: {error}") from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f'{where}: the row is {_shown(json.dumps(value))}; expected an object like {{"prompt": "..."}}')
    return value


def _read_json(path: Path) -> list[Row]:
    text = _decode(path.read_bytes(), path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.lstrip().startswith("{") and first.rstrip().endswith("}") and text.strip() != first.strip():
        return _read_lines(path)
    if not text.strip():
        return []
    value = _parse(text, str(path))
    if isinstance(value, dict):
        lists = {key: entry for key, entry in value.items() if isinstance(entry, list)}
        if len(lists) != 1:
            raise UserError(f"{path}: an object with {len(lists)} lists; expected a list of rows or one list in it")
        (value,) = lists.values()
    if not isinstance(value, list):
        raise UserError(f"{path}: {_shown(json.dumps(value))}; expected a list of rows")
    return [(f"{path.name}#{index}", _object(row, f"{path}#{index}")) for index, row in enumerate(value)]


def _read_csv(path: Path) -> list[Row]:
    text = _decode(path.read_bytes(), path)
    head = next((line for line in text.splitlines() if line.strip()), "")
    mark = _delimiter(head, path.suffix.lower() == ".tsv")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True, skipinitialspace=f"{mark} " in head)
    rows: list[Row] = []
    header: list[str] = []
    line = 1
    before = csv.field_size_limit(limit_row_bytes())
    try:
        for fields in reader:
            where, line = line, reader.line_num + 1
            if not fields:
                continue
            if not header:
                header = _header(fields, f"{path}:{where}")
            elif len(fields) != len(header):
                raise UserError(f"{path}:{where}: {len(fields)} fields; expected {len(header)} as in the header")
            else:
                rows.append((f"{path.name}:{where}", dict(zip(header, fields, strict=True))))
    except csv.Error as error:
        if "field limit" in str(error):
            refuse_row(limit_row_bytes() + 1, f"{path}:{line}")
        raise UserError(f"{path}:{line}: not CSV: {error}") from error
    finally:
        csv.field_size_limit(before)
    return rows


def _delimiter(header: str, is_tsv: bool) -> str:
    """A comma, or where the header has none the tab or semicolon that it has; in a tsv a tab comes before a comma."""
    return next((mark for mark in (("\t", ",", ";") if is_tsv else (",", "\t", ";")) if mark in header), ",")


def _header(fields: list[str], where: str) -> list[str]:
    fields = [field.strip() for field in fields]
    repeated = {field for field, count in Counter(fields).items() if count > 1}
    if repeated:
        raise UserError(f"{where}: the header repeats {_listed(repeated)}; expected every column once")
    return fields


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    from groupwise.tasks.arrow import python_rows

    size = path.stat().st_size
    try:
        with parquet.ParquetFile(path) as file:
            rows = [row for batch in parquet_batches(file, path, size) for row in python_rows(batch)]
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # ValueError: a text that is not UTF-8
        raise UserError(f"{path}: not a readable parquet file ({_shown(str(error))}); write it again") from error
    return [(f"{path.name}#{index}", row) for index, row in enumerate(rows)]


def _read_arrow(path: Path) -> list[Row]:
    from groupwise.tasks.arrow import python_rows

    rows = [row for batch in arrow_batches(path) for row in python_rows(batch)]
    return [(f"{path.name}#{index}", row) for index, row in enumerate(rows)]


def _read_dataset(source: str, path: Path) -> list[Row]:
    name, _, split = source.partition(":")
    directory = path if path.is_dir() else Path(name).expanduser()
    hub = _HUB_NAME.fullmatch(source)
    if directory.is_dir() and not any((directory / name).is_file() for name in SAVED):
        if directory == path or (directory / split).is_dir():
            return _read_shards(directory / split if directory != path else directory)
        return _read_shards(directory, split)
    if directory.is_dir():
        rows = _from_directory(directory, split if directory != path else "")
    elif hub is None or path.suffix in NAMES_A_FILE:
        raise UserError(f"{source}: no such file{_nearest_file(path)}")
    else:
        rows = _from_hub(hub["name"], hub["config"], hub["split"] or "train")
    return [(f"{source}#{index}", dict(row)) for index, row in enumerate(rows)]


def _read_shards(directory: Path, split: str = "") -> list[Row]:
    files = shards(directory, split)
    return [(f"{file.parent.relative_to(directory) / name}", row) for file in files for name, row in _read_file(file)]


def _nearest_file(path: Path) -> str:
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(path.name, names, n=1)
    return f"; perhaps you meant {path.parent / close[0]}" if close else "; check the path"


def _from_directory(directory: Path, split: str) -> Rows:
    datasets = _datasets(str(directory))
    refuse_saved(directory)
    try:
        saved = datasets.load_from_disk(str(directory))
    except Exception as error:  # whatever its files make of the library that reads them
        why = _shown(f"{type(error).__name__}: {error}")
        raise UserError(f"{directory}: not a data set that can be read ({why}); save it again") from error
    wanted = split or "train"
    if not isinstance(saved, datasets.Dataset) and wanted not in saved:
        raise UserError(f"{directory}: no split {wanted}; seen: {_listed(saved)}; name one as {directory}:SPLIT")
    rows: Rows = saved if isinstance(saved, datasets.Dataset) else saved[wanted]
    return rows


def _from_hub(name: str, config: str | None, split: str) -> Rows:
    datasets = _datasets(name)
    reached = hub.answers(name, "datasets")
    try:
        with nullcontext() if reached else hub.unreachable():
            rows: Rows = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{name}: neither a file here nor a dataset that the hub gives ({_shown(str(error))}); "
            "check the path, or the name as org/name[/config][:split]"
        ) from error
    return rows


def _datasets(source: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{source}: no such file, and reading it as a dataset needs: pip install 'groupwise[hub]'"
        ) from error
    return datasets


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _shown(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= 80 else one_line[:77] + "..."
