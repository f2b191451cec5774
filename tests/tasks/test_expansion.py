"""A small file does not fill the memory, and a large one that is meant is read."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pyarrow as pa
import pytest
from pyarrow import parquet

from groupwise.errors import UserError
from groupwise.tasks import expansion
from groupwise.tasks.expansion import ROW_VARIABLE, VARIABLE, batch_bytes, limit_bytes
from groupwise.tasks.files import read_rows

LONG = "x" * 5_000_000


def csv_of(text: str, path: Path) -> None:
    path.write_text(f'question,answer\n1,2\n"{text}",2\n')


def table_of(row: dict[str, Any], path: Path) -> None:
    parquet.write_table(
        pa.Table.from_pylist([{name: value[:0] for name, value in row.items()}, row]), path, compression="none"
    )


ROWS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "a line": ("a.jsonl:2", lambda path: path.write_text(f'{{"a": 1}}\n{{"a": "{LONG}"}}\n')),
    "a line of blanks": ("a.jsonl:1", lambda path: path.write_text(" " * 5_000_000)),
    "a line of short texts": ("a.jsonl:1", lambda path: path.write_text(json.dumps({"a": ["xxxx"] * 900_000}))),
    "a line that is compressed": (
        "a.jsonl.gz:2",
        lambda path: path.write_bytes(gzip.compress(f'{{"a": 1}}\n{{"a": "{LONG}"}}\n'.encode())),
    ),
    "an object of a list": ("a.json#1", lambda path: path.write_text(json.dumps([{"a": 1}, {"a": {"b": [LONG]}}]))),
    "lines after all": ("a.json:2", lambda path: path.write_text(f'{{"a": 1}}\n{{"a": "{LONG}"}}\n')),
    "a name of a column": ("a.json#0", lambda path: path.write_text(json.dumps([{LONG: 1}]))),
    "a cell": ("a.csv:3", lambda path: csv_of(LONG, path)),
    "cells": ("a.csv:2", lambda path: path.write_text("a,b\n" + ",".join(["x" * 3_000_000] * 2))),
    "a cell of a table": ("a.parquet#1", lambda path: table_of({"question": LONG}, path)),
    "a list in a table": ("a.parquet#1", lambda path: table_of({"question": "1", "more": ["xxxx"] * 900_000}, path)),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_that_would_fill_the_memory_is_refused_by_its_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, write = ROWS[name]
    path = tmp_path / where.partition(":")[0].partition("#")[0]
    write(path)
    with pytest.raises(UserError, match=rf"/{re.escape(where)}: the row holds over 4 MiB; .* {ROW_VARIABLE}"):
        read_rows(path)
    monkeypatch.setenv(ROW_VARIABLE, "16")
    if name != "a line of blanks":
        assert len(read_rows(path)) in (1, 2)


def test_a_cell_of_a_book_is_read(tmp_path: Path) -> None:
    """Python's own bound is 128 KiB, for all of the process."""
    before = csv.field_size_limit()
    csv_of("x" * 1_000_000, tmp_path / "a.csv")
    assert [len(row["question"]) for _, row in read_rows(tmp_path / "a.csv")] == [1, 1_000_000]
    assert csv.field_size_limit() == before


def test_the_bound_of_a_row_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    for said in ("much", "-1", "inf", "nan"):
        monkeypatch.setenv(ROW_VARIABLE, said)
        with pytest.raises(UserError, match=f"{ROW_VARIABLE} is '{said}'; expected how many MiB"):
            read_rows(tmp_path / "a.jsonl")


def test_many_rows_of_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expansion, "SMALL_BYTES", 64 << 10)
    (tmp_path / "a.jsonl").write_text("{}\n" * 6_000)
    with pytest.raises(UserError, match=rf"a\.jsonl: its 18,000 bytes hold over [\d,]+; .* {VARIABLE}"):
        read_rows(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text("\n" * 6_000 + "{}\n")
    assert len(read_rows(tmp_path / "a.jsonl")) == 1


def repeated(text: str, times: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))


def lists(count: int, length: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(range(0, count * length + 1, length), pa.array(numpy.full(count * length, 7)))


BOMBS: dict[str, Callable[[], Any]] = {
    "one text, often": lambda: pa.table({"prompt": repeated("x" * 100_000, 5_000)}),
    "plain texts": lambda: pa.table({"prompt": ["x" * 100_000] * 1_500}),
    "lists": lambda: pa.table({"prompt": lists(100, 200_000)}),
    "many rows": lambda: pa.table({"prompt": pa.nulls(2_000_000, pa.string())}),
    "texts within objects": lambda: pa.table({"prompt": [{"x": "x" * 100_000}] * 1_500}),
    "one long text": lambda: pa.table({"prompt": ["x" * 150_000_000]}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_parquet_file_that_fills_the_memory_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(BOMBS[name](), path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UserError, match=rf"a\.parquet: its [\d,]+ bytes hold over [\d,]+; .* {VARIABLE}"):
        read_rows(path)


def test_the_limit_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"prompt": ["x" * 100_000] * 1_000}), path, compression="zstd")
    with pytest.raises(UserError, match=VARIABLE):
        read_rows(path)
    monkeypatch.setenv(VARIABLE, "100000")
    assert len(read_rows(path)) == 1_000
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(UserError, match=f"{VARIABLE} is 'much'"):
        read_rows(path)


def test_files_as_they_are_come_through(tmp_path: Path) -> None:
    """In batches, and in the same order, whatever they are kept as."""
    rows = [{"prompt": f"{n} + 1 = ?" * 30, "tags": [str(n % 3)], "n": n} for n in range(3_000)]
    for number, options in enumerate(({}, {"row_group_size": 100}, {"use_dictionary": False}, {"compression": "zstd"})):
        path = tmp_path / f"{number}.parquet"
        parquet.write_table(pa.Table.from_pylist(rows), path, **options)
        assert [row for _, row in read_rows(path)] == rows


def test_bytes_of_a_batch_count_a_dictionary_as_often_as_it_is_used() -> None:
    batch = pa.record_batch({"a": repeated("x" * 1000, 50)})
    assert batch.nbytes < 3_000
    assert 50_000 < batch_bytes(batch) < 70_000
    assert limit_bytes(10) == (64 << 20) + 300


def saved(directory: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    path = directory / "saved"
    datasets.Dataset.from_list([{"question": "1 + 1", "answer": "2"}] * 4).save_to_disk(str(path))
    return path


def state(path: Path, **words: Any) -> None:
    there = path / "state.json"
    there.write_text(json.dumps(json.loads(there.read_text()) | words))


def linked(path: Path) -> None:
    arrow = next(path.glob("*.arrow"))
    arrow.rename(path.parent / "elsewhere")
    arrow.symlink_to(path.parent / "elsewhere")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a file elsewhere": lambda path: state(path, _data_files=[{"filename": "../../etc/passwd"}]),
    "a whole path": lambda path: state(path, _data_files=[{"filename": "/etc/passwd"}]),
    "no file": lambda path: state(path, _data_files=[]),
    "a number": lambda path: state(path, _data_files=3),
    "a list": lambda path: (path / "state.json").write_text("[]"),
    "deep": lambda path: (path / "state.json").write_text("[" * 100_000),
    "no JSON": lambda path: (path / "state.json").write_text("{"),
    "broken": lambda path: next(path.glob("*.arrow")).write_bytes(b"ARROW1" + bytes(99)),
    "a link": linked,
    "no columns": lambda path: (path / "dataset_info.json").write_text('{"features": 3}'),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_saved_data_set_of_a_stranger_is_one_line(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert len(read_rows(path)) == 4
    DAMAGES[name](path)
    with pytest.raises(UserError, match="save"):
        read_rows(path)


def test_a_saved_data_set_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    table = pa.table({"question": repeated("x" * 100_000, 5_000), "answer": ["2"] * 5_000})
    with pa.OSFile(str(next(path.glob("*.arrow"))), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(UserError, match=VARIABLE):
        read_rows(path)
