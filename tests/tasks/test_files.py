"""Reading rows: every format, and one clear line for every file that cannot be read."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.errors import UserError
from groupwise.tasks.files import read_rows

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
ROWS = [{"prompt": "2+2=", "answer": 4}, {"prompt": "Zürich 苏黎世 \u2028 ☃", "answer": None}]


def written(directory: Path, name: str, content: bytes | str) -> Path:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def one_line_error(source: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        read_rows(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_jsonl_rows_are_known_by_their_lines(tmp_path):
    path = written(tmp_path, "rows.jsonl", "\n".join(["", json.dumps(ROWS[0]), " ", json.dumps(ROWS[1]), ""]))
    assert read_rows(path) == [("rows.jsonl:2", ROWS[0]), ("rows.jsonl:4", ROWS[1])]
    assert read_rows(str(path)) == read_rows(path)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_mark_and_crlf_are_no_matter(tmp_path, newline, mark):
    lines = newline.join(json.dumps(row, ensure_ascii=False) for row in ROWS) + newline
    table = f"prompt,answer{newline}2+2=,4{newline}{newline}3+3=,6{newline}"
    assert [row for _, row in read_rows(written(tmp_path, "a.jsonl", mark + lines.encode()))] == ROWS
    assert [row for _, row in read_rows(written(tmp_path, "a.json", mark + json.dumps(ROWS).encode()))] == ROWS
    assert read_rows(written(tmp_path, "a.csv", mark + table.encode())) == [
        ("a.csv:2", {"prompt": "2+2=", "answer": "4"}),
        ("a.csv:4", {"prompt": "3+3=", "answer": "6"}),
    ]


def test_gzipped_jsonl(tmp_path):
    path = written(tmp_path, "a.jsonl.gz", gzip.compress(json.dumps(ROWS[0]).encode()))
    assert read_rows(path) == [("a.jsonl.gz:1", ROWS[0])]


@pytest.mark.parametrize(
    ("content", "first_id"),
    [
        (json.dumps(ROWS, indent=2), "a.json#0"),
        (json.dumps({"version": 1, "data": ROWS}), "a.json#0"),
        ("\n".join(map(json.dumps, ROWS)), "a.json:1"),
    ],
)
def test_json_is_a_list_or_an_object_with_one_list_or_lines(tmp_path, content, first_id):
    rows = read_rows(written(tmp_path, "a.json", content))
    assert [row for _, row in rows] == ROWS
    assert rows[0][0] == first_id


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("a.csv", "prompt,answer\n2+2=,4\n"),
        ("a.csv", "prompt;answer\n2+2=;4\n"),
        ("a.csv", "prompt\tanswer\n2+2=\t4\n"),
        ("a.tsv", "prompt\tanswer\n2+2=\t4\n"),
        ("a.csv", "prompt, answer \n2+2=, 4\n"),
        ("a.csv", 'prompt, answer\n"2+2=", "4"\n'),
    ],
)
def test_tables_are_parted_as_their_header_is(tmp_path, name, table):
    assert [row for _, row in read_rows(written(tmp_path, name, table))] == [{"prompt": "2+2=", "answer": "4"}]


def test_a_semicolon_beside_commas_is_text(tmp_path):
    table = "prompt,a;b\n1;2,3\n"
    assert [row for _, row in read_rows(written(tmp_path, "a.csv", table))] == [{"prompt": "1;2", "a;b": "3"}]


def test_csv_fields_may_span_lines_and_rows_are_known_by_their_first(tmp_path):
    path = written(tmp_path, "a.csv", 'prompt,answer\n"two\nlines, ""quoted""",4\nnext,5\n')
    assert read_rows(path) == [
        ("a.csv:2", {"prompt": 'two\nlines, "quoted"', "answer": "4"}),
        ("a.csv:4", {"prompt": "next", "answer": "5"}),
    ]


def test_parquet_keeps_nested_values(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    row = {"prompt": [{"role": "user", "content": "2+2="}], "reward_model": {"ground_truth": "4"}}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet") == [("a.parquet#0", row)]


def test_a_saved_dataset_and_its_splits(tmp_path):
    datasets = pytest.importorskip("datasets")
    train, test = ({"prompt": [name]} for name in ("t", "e"))
    datasets.Dataset.from_dict(train).save_to_disk(tmp_path / "one")
    datasets.DatasetDict(
        {k: datasets.Dataset.from_dict(v) for k, v in (("train", train), ("test", test))}
    ).save_to_disk(tmp_path / "two")
    assert [row for _, row in read_rows(tmp_path / "one")] == [{"prompt": "t"}]
    assert [row for _, row in read_rows(tmp_path / "two")] == [{"prompt": "t"}]
    assert read_rows(f"{tmp_path}/two:test") == [(f"{tmp_path}/two:test#0", {"prompt": "e"})]
    assert "no split dev; seen: test, train" in one_line_error(f"{tmp_path}/two:dev")


def test_a_path_with_spaces_and_unicode(tmp_path):
    assert len(read_rows(written(tmp_path, "my рядки ☃.jsonl", json.dumps(ROWS[0])))) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl:2: not JSON: Expecting value at column"),
        ("a.jsonl", '{"a": 1}\n\n[1, 2]\n', "a.jsonl:3: the row is [1, 2]; expected an object"),
        ("a.jsonl", "[" * 100_000, "a.jsonl:1: JSON beyond what can be read"),
        ("a.jsonl", '{"a": ' + "9" * 5000 + "}", "a.jsonl:1: JSON beyond what can be read"),
        ("a.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}\n', "a.jsonl:2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "a.jsonl:1: byte 0xff is not UTF-8"),
        ("a.jsonl", "", "a.jsonl: no rows; expected at least one"),
        ("a.jsonl", "\n \r\n", "a.jsonl: no rows"),
        ("a.jsonl.gz", gzip.compress(random.Random(0).randbytes(9000))[:4000], "a.jsonl.gz"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9999)[:-20], "a.jsonl.gz: broken gzip after line "),
        ("a.jsonl.gz", '{"a": 1}', "a.jsonl.gz: broken gzip after line 0 (Not a gzipped file"),
        ("a.json", "", "a.json: no rows"),
        ("a.json", "[]", "a.json: no rows"),
        ("a.json", "[1]", "a.json#0: the row is 1; expected an object"),
        ("a.json", "3", "a.json: 3; expected a list of rows"),
        ("a.json", '{"a": 1}', "a.json: an object with 0 lists; expected a list of rows or one list in it"),
        ("a.json", '{"a": [], "b": []}', "a.json: an object with 2 lists"),
        ("a.json", "[{]", "a.json: not JSON"),
        ("a.json", b'[\n{"a": "\xff"}]', "a.json:2: byte 0xff is not UTF-8"),
        ("a.csv", "", "a.csv: no rows"),
        ("a.csv", "a,b\n", "a.csv: no rows"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", "a.csv:3: 3 fields; expected 2 as in the header"),
        ("a.csv", 'a,b\n1,"2\n', "a.csv:2: not CSV: unexpected end of data"),
        ("a.csv", "a,b,a\n1,2,3\n", "a.csv:1: the header repeats a; expected every column once"),
        ("a.csv", b"a,b\n1,\xe9\n", "a.csv:2: byte 0xe9 is not UTF-8"),
        ("a.parquet", "no parquet", "a.parquet: not a readable parquet file"),
        (
            "a.xml",
            "hello",
            "a.xml: unknown kind of file; expected .jsonl, .jsonl.gz, .json, .csv, .ndjson, .tsv, .arrow, .feather",
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, name, content, message):
    assert message in one_line_error(written(tmp_path, name, content))


def test_a_missing_file_names_its_neighbour(tmp_path):
    written(tmp_path, "train.jsonl", "{}")
    assert f"perhaps you meant {tmp_path}/train.jsonl" in one_line_error(tmp_path / "trian.jsonl")
    assert "no such file; check the path" in one_line_error("nothing here")
    (tmp_path / "empty").mkdir()
    assert "a directory without data; expected a file" in one_line_error(tmp_path / "empty")


def test_a_hub_name_without_datasets_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'groupwise[hub]'" in one_line_error("some/dataset")


def test_a_hub_name_that_cannot_be_reached():
    pytest.importorskip("datasets")
    command = "from groupwise.tasks.files import read_rows; read_rows('some/dataset:test')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert "UserError: some/dataset: no file here, and HF_HUB_OFFLINE is set" in result.stderr


@given(content=st.binary(max_size=200), name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.jsonl.gz"]))
def test_any_bytes_give_rows_or_one_user_error(tmp_path_factory, content, name):
    path = written(tmp_path_factory.getbasetemp(), name, content)
    seen = ""
    try:
        rows = read_rows(path)
    except UserError as error:
        rows, seen = [], str(error)
    assert bool(rows) != (str(path) in seen)
    assert all(isinstance(row, dict) for _, row in rows)


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gsm8k/train.jsonl", 7473),
        ("gsm8k/test.jsonl", 1319),
        ("svamp/SVAMP.json", 1000),
        ("math-verify/cases.jsonl", None),
        ("big-bench-mistake/word_sorting.jsonl", 300),
        ("cmath/test.jsonl", 1098),
        ("mr-gsm8k/mr_gsm8k_subset.jsonl", 590),
    ],
)
def test_real_files(name, count):
    rows = read_rows(DATA / name)
    assert len(rows) == (count or len(rows))
    assert len({id for id, _ in rows}) == len(rows)


def test_a_file_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    row = b'{"prompt": "' + b"0" * 2_000_000 + b'"}'
    for lines, said in ((b"\n".join([row] * 50), "GROUPWISE_EXPANSION"), (b"0" * 100_000_000, "GROUPWISE_ROW_MIB")):
        path = tmp_path / "a.jsonl.gz"
        path.write_bytes(gzip.compress(lines))
        with pytest.raises(UserError, match=said):
            read_rows(path)
