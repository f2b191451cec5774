"""Files that call themselves data."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from attempts.commands import Attempt, Place, chat, evaluate, rows, train

_DEEP = 100_000
_ESCAPES = "\x1b]0;pwned\x07\x1b[2J\u202e\x9b31m"
_ROW = {"question": "1 + 1 = ?", "answer": "2"}


def _text(place: Place, name: str, content: str | bytes, *more: str) -> list[str]:
    return train(place, place.write(name, content), *more)


def _rows(place: Place, row: dict[str, Any], *more: str) -> list[str]:
    return train(
        place,
        place.write("train.jsonl", rows([row | {"question": f"{n}: {row.get('question', 'q')}"} for n in range(8)])),
        *more,
    )


def _zeros(place: Place, name: str, megabytes: int, head: bytes = b"", tail: bytes = b"") -> list[str]:
    """Spaces, gzipped, that grow to so many megabytes."""
    path = place.path / name
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(megabytes):
            file.write(b" " * (1 << 20))
        file.write(tail)
    return train(place, path)


def _parquet(place: Place, make: Callable[[Any], Any], *more: str) -> list[str]:
    import pyarrow
    from pyarrow import parquet

    path = place.path / "train.parquet"
    parquet.write_table(make(pyarrow), path, compression="zstd")
    return train(place, path, *more)


def _large(pa: Any) -> Any:
    """Few kinds of bytes, often: small on the disk."""
    one = pa.array(["x" * 100_000], pa.string())
    return pa.table(
        {"question": pa.DictionaryArray.from_arrays(pa.array([0] * 12_000, pa.int32()), one), "answer": ["2"] * 12_000}
    )


def _plain(pa: Any) -> Any:
    return pa.table({"question": ["x" * 100_000] * 12_000, "answer": ["2"] * 12_000})


def _lists(pa: Any) -> Any:
    return pa.table({"question": ["q"] * 200, "answer": [[0] * 200_000] * 200})


def _many(pa: Any) -> Any:
    return pa.table(
        {"question": pa.array(["q"] * 20_000_000).dictionary_encode(), "answer": pa.nulls(20_000_000, pa.string())}
    )


def _nested(pa: Any) -> Any:
    kind = pa.int32()
    value: Any = 1
    for _ in range(200):
        kind, value = pa.list_(kind), [value]
    return pa.table({"question": ["q"], "answer": pa.array([value], kind)})


def _named(pa: Any) -> Any:
    return pa.table({"question": ["q"] * 4, "answer": ["2"] * 4, _ESCAPES: ["x"] * 4, "../../x": ["y"] * 4})


def _broken(place: Place, name: str, start: bytes, size: int = 2000) -> list[str]:
    return train(place, place.write(name, start + os.urandom(size) + start))


def _dataset(place: Place, change: Callable[[Path], None]) -> list[str]:
    import datasets

    path = place.path / "saved"
    datasets.disable_progress_bars()
    datasets.Dataset.from_list([_ROW] * 4).save_to_disk(str(path))
    change(path)
    return train(place, path)


def _state(path: Path, **words: Any) -> None:
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(state | words))


def _script(path: Path) -> None:
    (path / "saved.py").write_text("raise SystemExit\n")
    (path / "dataset_infos.json").write_text("{}")


def _linked(place: Place, to: str, name: str = "train.jsonl") -> list[str]:
    path = place.path / name
    path.symlink_to(to.replace("HOME", str(place.home)))
    return train(place, path)


def _pipe(place: Place, name: str) -> list[str]:
    os.mkfifo(place.path / name)
    return train(place, place.path / name)


def _evaluated(place: Place, row: dict[str, Any]) -> list[str]:
    return evaluate(place.whole_model, place.write("held_out.jsonl", rows([row] * 4)))


def _named_file(place: Place, name: str) -> list[str]:
    return train(place, place.write(name, rows([_ROW | {"question": str(n)} for n in range(8)])))


KINDS: dict[str, Attempt] = {
    "jsonl.gz that grows to a gigabyte": partial(_zeros, name="train.jsonl.gz", megabytes=1000),
    "jsonl.gz of one long text": partial(
        _zeros, name="train.jsonl.gz", megabytes=600, head=b'{"question": "', tail=b'", "answer": "2"}\n'
    ),
    "jsonl.gz that is cut": lambda place: train(
        place, place.write("train.jsonl.gz", gzip.compress(rows([_ROW] * 99).encode())[:-9])
    ),
    "jsonl.gz within jsonl.gz": lambda place: train(
        place, place.write("train.jsonl.gz", gzip.compress(gzip.compress(b" " * 9999)))
    ),
    "jsonl.gz that is none": partial(_broken, name="train.jsonl.gz", start=b"\x1f\x8b\x08"),
    "parquet of one text that is repeated": partial(_parquet, make=_large),
    "parquet of plain text that is repeated": partial(_parquet, make=_plain),
    "parquet of lists": partial(_parquet, make=_lists),
    "parquet of many rows": partial(_parquet, make=_many),
    "parquet of lists in lists": partial(_parquet, make=_nested),
    "parquet with names of control characters": partial(_parquet, make=_named),
    "parquet that is none": partial(_broken, name="train.parquet", start=b"PAR1"),
    "parquet of nothing": partial(_text, name="train.parquet", content=b""),
    "a saved data set with a link out of it": partial(
        _dataset, change=lambda path: _state(path, _data_files=[{"filename": "../../../etc/passwd"}])
    ),
    "a saved data set of no files": partial(_dataset, change=lambda path: _state(path, _data_files=[])),
    "a saved data set with a format of code": partial(
        _dataset, change=lambda path: _state(path, _format_type="torch", _format_kwargs={"dtype": "x"})
    ),
    "a saved data set with wrong state": partial(
        _dataset, change=lambda path: (path / "state.json").write_text("[]") and None
    ),
    "a saved data set with a script": partial(_dataset, change=_script),
    "a saved data set that is broken": partial(
        _dataset, change=lambda path: next(path.glob("*.arrow")).write_bytes(b"ARROW1" + os.urandom(999)) and None
    ),
    "a saved data set without schema": partial(
        _dataset, change=lambda path: (path / "dataset_info.json").write_text("{}") and None
    ),
    "json nested deeply": partial(_text, name="train.json", content="[" * _DEEP + "]" * _DEEP),
    "jsonl nested deeply": partial(
        _text, name="train.jsonl", content='{"question": ' + "[" * _DEEP + "]" * _DEEP + "}\n"
    ),
    "jsonl of objects in objects": partial(_text, name="train.jsonl", content='{"a":' * 900 + "1" + "}" * 900 + "\n"),
    "a long number": partial(_text, name="train.jsonl", content='{"question": "q", "answer": ' + "9" * 100_000 + "}\n"),
    "an exponent": partial(_text, name="train.jsonl", content='{"question": "q", "answer": 1e999999}\n' * 4),
    "nan": partial(_text, name="train.jsonl", content='{"question": "q", "answer": NaN}\n' * 4),
    "infinity for a weight": partial(
        _text, name="train.jsonl", content='{"question": "q", "answer": "2", "weight": Infinity}\n' * 4
    ),
    "names that are repeated": partial(
        _text, name="train.jsonl", content='{"question": "q", "question": "r", "answer": "2"}\n' * 4
    ),
    "a name of control characters": partial(_rows, row=_ROW | {_ESCAPES: "x"}),
    "values of control characters": partial(_rows, row={"question": _ESCAPES, "answer": _ESCAPES}),
    "an answer of control characters": partial(_rows, row={"question": "q", "answer": [_ESCAPES]}),
    "surrogates": partial(_text, name="train.jsonl", content='{"question": "\\ud800 q", "answer": "\\udfff"}\n' * 4),
    "zeros": partial(_text, name="train.jsonl", content=b"\0" * 100_000),
    "bytes": partial(_text, name="train.jsonl", content=bytes(range(256)) * 40),
    "a line of megabytes": partial(
        _text, name="train.jsonl", content='{"question": "' + "x" * 20_000_000 + '", "answer": "2"}\n'
    ),
    "a hundred thousand columns": lambda place: train(
        place, place.write("train.jsonl", json.dumps(_ROW | {f"c{n}": n for n in range(100_000)}) + "\n")
    ),
    "an answer that is an object": partial(_rows, row={"question": "q", "answer": {"__class__": "x", "a": {"b": [1]}}}),
    "a prompt of roles": partial(_rows, row={"prompt": [{"role": "\x1b[2J", "content": {"x": 1}}], "answer": "2"}),
    "arguments of a template": partial(
        _rows, row=_ROW | {"chat_template_kwargs": {"messages": [], "self": 1, "\x1b": 2}}
    ),
    "csv with control characters": partial(
        _text, name="train.csv", content=f"question,answer,{_ESCAPES}\n1,2,3\n4,5,6\n"
    ),
    "csv of one open quote": partial(_text, name="train.csv", content='question,answer\n"' + "x\n" * 100_000),
    "csv with formulas": partial(_text, name="train.csv", content='question,answer\n"=cmd|calc",2\n@x,3\n'),
    "csv of a long field": partial(_text, name="train.csv", content="question,answer\n" + "x" * 1_000_000 + ",2\n"),
    "csv of zeros": partial(_text, name="train.csv", content="question,answer\n\0,\0\n"),
    "csv of many commas": partial(_text, name="train.csv", content="," * 200_000 + "\n"),
    "a link to a file of the user's": partial(_linked, to="HOME/.cache/token"),
    "a link to itself": partial(_linked, to="train.jsonl"),
    "a file that never ends": partial(_linked, to="/dev/zero"),
    "a json that never ends": partial(_linked, to="/dev/zero", name="train.json"),
    "a parquet that never ends": partial(_linked, to="/dev/zero", name="train.parquet"),
    "a csv that never ends": partial(_linked, to="/dev/zero", name="train.csv"),
    "a pipe for jsonl": partial(_pipe, name="train.jsonl"),
    "a pipe for parquet": partial(_pipe, name="train.parquet"),
    "a pipe for csv": partial(_pipe, name="train.csv"),
    "a name of control characters for a file": partial(_named_file, name="tr\x1b[2Jain.jsonl"),
    "a name that turns": partial(_named_file, name="tr\u202eain.jsonl"),
    "a name with a newline": partial(_named_file, name="tr\nain.jsonl"),
    "a name with a star": partial(_named_file, name="train*0.5.jsonl"),
    "evaluated: values of control characters": partial(_evaluated, row={"question": _ESCAPES, "answer": _ESCAPES}),
    "evaluated: tests that never end": partial(_evaluated, row={"question": "q", "answer": "10**10**10"}),
    "a file that is not there": lambda place: train(place, place.path / f"no\x1b[2J{_ESCAPES}.jsonl"),
    "a model for data": lambda place: train(place, place.model() / "model.safetensors"),
    "data for a model": lambda place: chat(place.data()),
}
