"""``--held_out``: a fraction, a file, or files by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from groupwise.commands.held_out import read_held_out
from groupwise.errors import UserError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], (None, 0.1)),
        (["0.25"], (None, 0.25)),
        (["0"], (None, 0.0)),
        (["test.jsonl"], ("test.jsonl", 0.0)),
        (["math=d/test.jsonl"], ({"math": "d/test.jsonl"}, 0.0)),
        (["a=x.jsonl", "b=y.jsonl"], ({"a": "x.jsonl", "b": "y.jsonl"}, 0.0)),
        (["d/easy.jsonl", "b=y.parquet"], ({"easy": "d/easy.jsonl", "b": "y.parquet"}, 0.0)),
        (["runs/lr=1/test.jsonl"], ("runs/lr=1/test.jsonl", 0.0)),
    ],
)
def test_what_it_names(given: list[str], expected: Any) -> None:
    assert read_held_out(given) == expected


def test_a_file_whose_name_has_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k=4.jsonl").write_text("")
    assert read_held_out(["k=4.jsonl"]) == ("k=4.jsonl", 0.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a=x", "a=y"], r"a set named a is there already \(x\)"),
        (["d/a.jsonl", "e/a.jsonl"], r"a set named a is there already"),
        (["0.1", "a=x"], "a fraction of --data stands alone"),
        (["=x"], "expected FILE, NAME=FILE or a fraction"),
        (["a="], "expected FILE, NAME=FILE or a fraction"),
    ],
)
def test_what_it_cannot_be(given: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_held_out(given)
