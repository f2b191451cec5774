"""Plain text as rows: which columns say so, and which files and folders hold it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.tasks import from_file
from groupwise.tasks.files import read_rows
from groupwise.tokens.documents import is_document


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("column", ["text", "Text", "content", "raw_content"])
def test_a_column_of_text_alone_is_documents(tmp_path: Path, column: str) -> None:
    path = write(tmp_path / "a.jsonl", *({column: f"document {n}", "url": f"u{n}", "score": n} for n in range(10)))
    task = from_file(path, held_out_fraction=0.2)
    assert len(task.train) == 8
    assert len(task.held_out) == 2
    assert all(is_document(row) and row.columns["url"] for row in task.train)
    assert f"documents: {column}" in task.source


def test_empty_documents_and_same_ones_are_no_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a"}, {"text": ""}, {"text": None}, {"text": "a"})
    task = from_file(path, held_out_fraction=0)
    assert [row.completion for row in task.train] == ["a", "", "", "a"]


def test_text_beside_a_prompt_or_an_answer_is_no_document(tmp_path: Path) -> None:
    asked = from_file(write(tmp_path / "a.jsonl", {"prompt": "p", "text": "t"}), held_out_fraction=0)
    assert asked.train[0].prompt == "p"
    with pytest.raises(UserError, match="no prompt among"):
        from_file(write(tmp_path / "b.jsonl", {"text": "t", "answer": "4"}), held_out_fraction=0)


def test_a_cell_that_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.jsonl:2: text is int '7'; expected text"):
        from_file(write(tmp_path / "a.jsonl", {"text": "t"}, {"text": 7}))


def test_a_folder_of_shards_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    write(tmp_path / "b" / "part-1.jsonl", {"text": "second"})
    write(tmp_path / ".cache" / "x.jsonl", {"text": "hidden"})
    write(tmp_path / "_tmp.jsonl", {"text": "under way"})
    parquet.write_table(pyarrow.table({"text": ["first", "too"]}), tmp_path / "a.parquet")
    (tmp_path / "c.txt").write_text("third\n\nstill third\n")
    with gzip.open(tmp_path / "d.jsonl.gz", "wt") as file:
        file.write('{"text": "fourth"}\n')
    (tmp_path / "manifest.json").write_text("{}")
    rows = read_rows(tmp_path)
    assert [row["text"] for _, row in rows] == ["first", "too", "second", "third\n\nstill third\n", "fourth"]
    assert [name for name, _ in rows][:3] == ["a.parquet#0", "a.parquet#1", "b/part-1.jsonl:1"]
    assert len({name for name, _ in rows}) == 5


def test_a_folder_without_data_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("x")
    with pytest.raises(UserError, match=r"a directory without data; expected .*parquet"):
        read_rows(tmp_path)
