"""This module makes Arrow tables of rows, and reads them from parquet files, without what loads pandas.

Where pandas is installed, pyarrow loads it as soon as a Python list becomes an array: half a second of a processor in
each process of every stage, for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    import pyarrow

KINDS = {
    "offset": "int64",
    "seen": "int32",
    "kept": "int32",
    "characters": "int64",
    "words": "int64",
    "iteration": "int32",
    "score": "float32",
    "row": "int64",
    "pages": "int64",
    "collected": "int64",
    "share": "float64",
    "depth": "int32",
}
"""Columns that are no text."""


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pyarrow.Table:
    """Returns rows as a table of these columns; what a row lacks is null."""
    import pyarrow

    arrays = {name: _array([row.get(name) for row in rows], KINDS.get(name, "string")) for name in columns}
    return pyarrow.Table.from_arrays(list(arrays.values()), names=list(arrays))


def _array(values: Sequence[Any], kind: str) -> pyarrow.Array:
    import pyarrow

    there = numpy.array([value is not None for value in values], bool)
    bits = None if there.all() else numpy.packbits(there, bitorder="little")
    if kind == "string":
        codes = [(value or "").encode() for value in values]
        ends = numpy.cumsum([0, *map(len, codes)], dtype=numpy.int64)
        if ends[-1] > numpy.iinfo(numpy.int32).max:
            raise OverflowError(f"{ends[-1]:,} bytes of text in one file; expected less than 2 GB")
        buffers = [ends.astype(numpy.int32), b"".join(codes)]
    else:
        buffers = [numpy.array([value or 0 for value in values], kind)]
    found = [each if each is None else pyarrow.py_buffer(each) for each in (bits, *buffers)]
    return pyarrow.Array.from_buffers(getattr(pyarrow, kind)(), len(values), found)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """Returns the rows of one file; of all columns, or of some, in the order in which these are given."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        table = file.read(columns=list(columns) if columns else None)
    return table.select(list(columns)) if columns else table
