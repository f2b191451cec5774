"""Folders whose names tell splits apart, arrow files, and files that only have to be unpacked or fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pytest
from pyarrow import feather, ipc

from groupwise.errors import UserError
from groupwise.tasks.files import read_rows
from groupwise.tasks.from_file import from_file
from groupwise.tasks.shards import left_out

ROWS = [{"prompt": "2+2=", "answer": "4"}, {"prompt": "3+3=", "answer": "6"}]


def folder(path: Path, names: Sequence[str]) -> Path:
    """Each file has one row that says its name."""
    for name in names:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"prompt": name}) + "\n")
    return path


def prompts(source: str | Path) -> list[str]:
    return [row["prompt"] for _, row in read_rows(source)]


@pytest.mark.parametrize(
    ("names", "split", "found"),
    [
        (["train-00000-of-00002.jsonl", "test-00000-of-00001.jsonl"], "", ["train-00000-of-00002.jsonl"]),
        (["train-00000-of-00002.jsonl", "test-00000-of-00001.jsonl"], ":test", ["test-00000-of-00001.jsonl"]),
        (["train.jsonl", "valid.jsonl", "more.jsonl"], "", ["more.jsonl", "train.jsonl"]),
        (["data.jsonl", "dev.jsonl"], "", ["data.jsonl"]),
        (["main/train/0.jsonl", "main/validation/0.jsonl"], "", ["main/train/0.jsonl"]),
        (["main/train/0.jsonl", "main/validation/0.jsonl"], ":val", ["main/validation/0.jsonl"]),
        (["test-0.jsonl", "test-1.jsonl"], "", ["test-0.jsonl", "test-1.jsonl"]),
        (["a/0.jsonl", "b/0.jsonl"], ":b", ["b/0.jsonl"]),
        (["trainable.jsonl", "testimony.jsonl"], "", ["testimony.jsonl", "trainable.jsonl"]),
    ],
)
def test_the_rows_of_a_test_are_not_trained_on(tmp_path: Path, names: list[str], split: str, found: list[str]) -> None:
    assert prompts(f"{folder(tmp_path / 'data', names)}{split}") == found


@pytest.mark.parametrize(("names", "split"), [(["test.jsonl", "valid.jsonl"], ""), (["train.jsonl"], ":test")])
def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, names: list[str], split: str) -> None:
    with pytest.raises(UserError, match=r"no split (train|test); its files are of the splits .*:SPLIT"):
        read_rows(f"{folder(tmp_path / 'data', names)}{split}")


@pytest.mark.parametrize("name", ["a.ndjson", "a.tsv", "a.arrow", "a.feather", "a.jsonl.zst"])
def test_a_file_that_is_not_there_is_not_looked_for_elsewhere(name: str) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_rows(f"nowhere/{name}")


def test_arrow_files_and_streams_are_read(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    feather.write_feather(table, tmp_path / "a.feather")
    with ipc.new_file(tmp_path / "b.arrow", table.schema) as file:
        file.write_table(table)
    with ipc.new_stream(tmp_path / "c.arrow", table.schema) as stream:
        stream.write_table(table)
    for name in ("a.feather", "b.arrow", "c.arrow"):
        assert [row for _, row in read_rows(tmp_path / name)] == ROWS
    content = (tmp_path / "b.arrow").read_bytes()
    for cut in (0, 5, 9, 100, len(content) - 1):
        (tmp_path / "b.arrow").write_bytes(content[:cut])
        with pytest.raises(UserError, match=r"b\.arrow"):
            read_rows(tmp_path / "b.arrow")


def test_what_must_be_unpacked_or_fetched_first_is_told(tmp_path: Path) -> None:
    for name, command in {"a.jsonl.zst": "zstd -d", "a.csv.gz": "gunzip", "a.zip": "unzip"}.items():
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(UserError, match=rf"unpack it first \({command}\)"):
            read_rows(tmp_path / name)
    (tmp_path / "a.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(UserError, match="git lfs pull"):
        read_rows(tmp_path / "a.parquet")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """An empty file is read; a file that is named is all there is."""
    directory = folder(tmp_path / "data", ["train.jsonl", "test_prep.jsonl", "dev/a.jsonl", "more.jsonl"])
    (directory / "empty.jsonl").touch()
    assert left_out(str(directory)) == ["dev/a.jsonl", "test_prep.jsonl"]
    said = from_file(directory, reward=lambda completion: 1.0).source
    assert said.endswith("; not read, by their names: dev/a.jsonl, test_prep.jsonl")
    for source in (directory / "test_prep.jsonl", directory / "dev", f"{directory}:test", "no/such"):
        assert left_out(str(source)) == []
