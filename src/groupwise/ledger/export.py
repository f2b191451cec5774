"""This module writes a run's ledger for others: rows of JSON, a table for a spreadsheet, or one parquet file."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from groupwise.errors import UserError
from groupwise.ledger.files import whole_table
from groupwise.storage.atomic import PARTIAL

FORMS = ("jsonl", "csv", "parquet")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""
Step = tuple[str, int]


def steps_of(ledger: Path, stage: str | None = None, first: int = 0, last: int | None = None) -> dict[Step, Path]:
    """Returns the files of a ledger by stage and step, in order. Raises UserError where there are none."""
    found = {
        (path.parent.name, int(path.stem)): path
        for path in sorted(ledger.glob("*/*.parquet"))
        if path.stem.isdecimal() and stage in (None, path.parent.name)
    }
    kept = {place: path for place, path in found.items() if first <= place[1] and (last is None or place[1] <= last)}
    if not kept:
        raise UserError(f"{ledger}: no step that was asked for is kept; {_there(ledger)}")
    return kept


def _there(ledger: Path) -> str:
    """Says which steps of which stages a ledger has."""
    steps: dict[str, list[int]] = {}
    for path in sorted(ledger.glob("*/*.parquet")):
        if path.stem.isdecimal():
            steps.setdefault(path.parent.name, []).append(int(path.stem))
    if not steps:
        return "there is none; stages that learn from data alone draw no rollouts"
    return "there are steps " + ", ".join(f"{min(own)} to {max(own)} of {stage}" for stage, own in steps.items())


def without_damaged(files: Mapping[Step, Path]) -> dict[Step, Path]:
    """Returns the files whose end, where parquet says what is in one, can be read: a kill, a full disk or a copy that
    was cut leaves others. Raises UserError where none is left."""
    import pyarrow.parquet as pq

    kept = {}
    for place, path in files.items():
        with suppress(OSError, ValueError):
            pq.read_metadata(path)
            kept[place] = path
    if not kept:
        raise UserError(f"{next(iter(files.values()))}: is damaged, and so is every step that was asked for")
    return kept


def export_ledger(files: Mapping[Step, Path], path: Path) -> int:
    """Writes the rollouts of these steps to ``path`` in the form that its ending names, and returns how many.

    Raises UserError for another ending, and for a file that is damaged in its middle.
    """
    form = path.suffix.removeprefix(".")
    if form not in FORMS:
        raise UserError(f"{path}: ends in none of {', '.join('.' + each for each in FORMS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{path.name}")
    try:
        count = _written(files, partial, form)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _written(files: Mapping[Step, Path], partial: Path, form: str) -> int:
    if form == "parquet":
        return _parquet(list(files.values()), partial)
    write: Callable[[Iterator[dict[str, Any]], IO[str]], int] = _jsonl if form == "jsonl" else _csv
    with partial.open("w", encoding="utf-8", newline="") as file:
        return write(_rows(files.values()), file)


def _rows(paths: Any) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    for path in paths:
        table = whole_table(path)
        maps = [field.name for field in table.schema if pa.types.is_map(field.type)]
        for row in table.to_pylist():
            yield row | {name: None if row[name] is None else dict(row[name]) for name in maps}


def _jsonl(rows: Iterator[dict[str, Any]], file: IO[str]) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(_finite(row), ensure_ascii=False) + "\n")
        count += 1
    return count


def _csv(rows: Iterator[dict[str, Any]], file: IO[str]) -> int:
    """Writes all but the columns that have a value a token; mappings as JSON."""
    writer, count = csv.writer(file), 0
    for row in rows:
        kept = {name: value for name, value in row.items() if not isinstance(value, list)}
        if count == 0:
            names = [name for name in row if name not in _BY_TOKEN]
            writer.writerow(names)
        writer.writerow([_cell(kept.get(name)) for name in names])
        count += 1
    return count


_BY_TOKEN = frozenset(
    (
        *("prompt_tokens", "tokens", "mask", "versions", "turns", "reward_tokens", "reward_values", "entropy"),
        *("behavior_logprobs", "logprobs", "old_logprobs", "reference_logprobs", "values", "advantages"),
        *("coefficients",),
    )
)


def _cell(value: Any) -> Any:
    """Returns a value as a spreadsheet takes it for text or a number, never for a formula."""
    if isinstance(value, Mapping):
        return json.dumps(_finite(value), ensure_ascii=False)
    if isinstance(value, str) and value.startswith(FORMULA):
        try:
            float(value)
        except ValueError:
            return f"'{value}"
    return value


def _parquet(paths: Sequence[Path], target: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_schema(path) for path in paths]
    schema = pa.unify_schemas(tables, promote_options="permissive")
    count = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for path in paths:
            table = whole_table(path)
            missing = [field for field in schema if field.name not in table.column_names]
            for field in missing:
                table = table.append_column(field, pa.nulls(len(table), field.type))
            writer.write_table(table.select(schema.names).cast(schema))
            count += len(table)
    return count


def _finite(value: Any) -> Any:
    """Returns None for the infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
