"""This module bounds how large a file of data and a row of it may become: a small file can be made to fill the memory.

Text shrinks to a tenth when it is compressed, a file that is made to do harm to a ten-thousandth. So a file may hold
``SMALL_BYTES``, and so many times its own size: 30, or what ``GROUPWISE_EXPANSION`` says in the environment. What is
done with a row takes a hundred times its size and more, so a row may hold 4 MiB, or as many as ``GROUPWISE_ROW_MIB``
says: a million tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groupwise.errors import UserError

EXPANSION, SMALL_BYTES = 30.0, 64 << 20
ARROW_FILE = b"ARROW1"
VARIABLE = "GROUPWISE_EXPANSION"
ROW_VARIABLE, ROW_MIB = "GROUPWISE_ROW_MIB", 4.0
ROW_BYTES, VALUE_BYTES = 256, 8
"""What a row, and a value in it, take at the least."""


def limit_bytes(size: int) -> int:
    """Returns what a file of so many bytes may become. Raises UserError where the environment says no number for it."""
    return SMALL_BYTES + int(
        _number(VARIABLE, EXPANSION, "how many times its own size a file may hold, such as 100") * size
    )


def limit_row_bytes() -> int:
    """Returns what a row may hold. Raises UserError where the environment says no number for it."""
    return int(_number(ROW_VARIABLE, ROW_MIB, "how many MiB a row may hold, such as 16") * (1 << 20))


def _number(variable: str, usual: float, expected: str) -> float:
    said = os.environ.get(variable, "")
    try:
        number = float(said) if said else usual
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UserError(f"{variable} is {said!r}; expected {expected}")
    return number


def refuse_row(size: int, where: str) -> None:
    """Raises UserError where a row of ``size`` bytes holds more than it may."""
    if size > (most := limit_row_bytes()):
        raise UserError(
            f"{where}: the row holds over {most / (1 << 20):g} MiB; if that is meant, set {ROW_VARIABLE} to how many "
            "MiB a row may hold"
        )


def row_size(row: Any) -> int:
    """The letters that a row has as JSON, at the least."""
    size, left = 0, [row]
    while left:
        value = left.pop()
        if isinstance(value, str | bytes):
            size += len(value)
        elif isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            left += value
        size += 1
    return size


def refuse_growth(grown: int, path: Path, size: int) -> None:
    """Raises UserError where a file of ``size`` bytes holds more than it may."""
    if grown > limit_bytes(size):
        raise UserError(
            f"{path}: its {size:,} bytes hold over {limit_bytes(size):,}; if that is meant, set {VARIABLE} to how many "
            "times its own size a file may hold"
        )


def parquet_batches(file: Any, path: Path, size: int) -> Iterator[Any]:
    """The record batches of a ``pyarrow.parquet.ParquetFile``, none of which is too large to be looked at first."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    values = sum(chunk.num_values for chunk in chunks)
    least = file.metadata.num_rows * ROW_BYTES + values * VALUE_BYTES
    refuse_growth(max(least, sum(chunk.total_uncompressed_size for chunk in chunks)), path, size)
    # No value is larger than the chunk in which it stands, however often a dictionary repeats it.
    largest = sum(
        max((group.column(n).total_uncompressed_size for group in groups), default=0) for n in _columns(groups)
    )
    rows = max(1, min(1 << 14, limit_bytes(size) // max(largest, 1)))
    grown = 0
    for batch in file.iter_batches(batch_size=rows):
        grown += batch_bytes(batch)
        refuse_growth(grown, path, size)
        yield batch


def _columns(groups: list[Any]) -> range:
    return range(groups[0].num_columns if groups else 0)


def batch_bytes(batch: Any) -> int:
    """Estimates what a record batch takes as rows of Python's, at the least; a dictionary's values as often as they are
    used."""
    return batch.num_rows * ROW_BYTES + sum(_array_bytes(column) for column in batch.columns)


def _array_bytes(array: Any) -> int:
    from pyarrow import compute, types

    kind = array.type
    if types.is_dictionary(kind):
        values = array.dictionary
        if not (types.is_string(values.type) or types.is_large_string(values.type) or types.is_binary(values.type)):
            return len(array) * max(VALUE_BYTES, int(values.nbytes))
        lengths = compute.binary_length(values).take(array.indices.cast("int64"))
        return len(array) * VALUE_BYTES + int(compute.sum(lengths).as_py() or 0)
    if types.is_run_end_encoded(kind):
        return len(array) * max(VALUE_BYTES, int(array.values.nbytes))
    if types.is_list(kind) or types.is_large_list(kind):
        return int(array.nbytes) + _array_bytes(array.flatten())
    if types.is_struct(kind):
        return sum(_array_bytes(array.field(number)) for number in range(kind.num_fields))
    return max(int(array.nbytes), len(array) * VALUE_BYTES)


def refuse_saved(directory: Path) -> None:
    """Raises UserError where a saved data set names a file outside of it, or one that grows too large."""
    for path in sorted(directory.rglob("state.json")):
        try:
            files = [str(each["filename"]) for each in json.loads(path.read_text(encoding="utf-8"))["_data_files"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: does not say which files hold the data; save the data set again") from error
        for name in files:
            file = path.parent / name
            if Path(name).name != name or file.is_symlink() or not file.is_file():
                raise UserError(f"{path}: names the file {name!r}; expected one beside it; save the data set again")
            _refuse_arrow(file)


def _refuse_arrow(path: Path) -> None:
    for _ in arrow_batches(path):
        pass


def arrow_batches(path: Path) -> Iterator[Any]:
    """The record batches of an arrow stream or file, none of which grows too large. Raises UserError for what is
    neither."""
    import pyarrow

    size, grown = path.stat().st_size, 0
    try:
        with pyarrow.memory_map(str(path)) as source:
            is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
            source.seek(0)
            opened = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
            batches = map(opened.get_batch, range(opened.num_record_batches)) if is_file else iter(opened)
            for batch in batches:
                grown += batch_bytes(batch)
                refuse_growth(grown, path, size)
                yield batch
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable arrow file ({error}); save the data set again") from error
