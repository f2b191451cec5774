"""Rows become parquet files and come back, and nothing loads pandas for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groupwise.corpus.shards import write_rows
from groupwise.corpus.tables import read_table, table_of

COLUMNS = ("id", "text", "kept", "score")
ROWS = [
    {"id": "a", "text": "x² = 数学 🙂\n", "kept": 3, "score": 0.5, "other": 1},
    {"id": "b", "text": "", "kept": 0, "score": -1.0},
    {"id": None, "text": None, "kept": None},
]


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_rows_come_back(tmp_path: Path, count: int) -> None:
    rows = (ROWS * 7)[:count]
    write_rows(tmp_path / "a.parquet", rows, COLUMNS)
    expected = [{name: row.get(name) for name in COLUMNS} for row in rows]
    assert read_table(tmp_path / "a.parquet").to_pylist() == expected
    some = [{name: row[name] for name in ("score", "id")} for row in expected]
    assert read_table(tmp_path / "a.parquet", ["score", "id"]).to_pylist() == some


def test_the_table_is_the_one_that_pyarrow_makes() -> None:
    import pyarrow

    kinds = [pyarrow.string(), pyarrow.string(), pyarrow.int32(), pyarrow.float32()]
    schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    assert table_of(ROWS, COLUMNS).equals(pyarrow.Table.from_pylist(ROWS, schema=schema))


def test_pandas_is_not_loaded(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from groupwise.corpus.shards import read_parts, write_rows;"
        "path = Path(sys.argv[1]); write_rows(path / 'a-000.parquet', [{'id': 'a', 'row': 0}], ('id', 'row'));"
        "table = read_parts(path, 'a', ('id', 'row'));"
        "print(table.take(table['row'])['id'].to_pylist(), 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["['a']", "False"]
