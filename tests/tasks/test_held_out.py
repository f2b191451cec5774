"""Held-out rows in several sets: one of each in turn, each under its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.tasks import from_file, held_out_sets
from groupwise.tasks.held_out import first_of_each_set, places_by_set, set_of
from groupwise.types import Example


def rows(name: str, count: int, **columns: str) -> list[Example]:
    return [Example(f"{name}:{n}", f"{name} {n}", columns=columns) for n in range(count)]


def ids(examples: list[Example]) -> list[str]:
    return [example.id for example in examples]


def test_sets_by_name_take_turns() -> None:
    mixed = held_out_sets({"a": rows("a", 3), "b": rows("b", 1)})
    assert [(row.id, set_of(row)) for row in mixed] == [("a:0", "a"), ("b:0", "b"), ("a:1", "a"), ("a:2", "a")]
    assert places_by_set(mixed) == {"a": (0, 2, 3), "b": (1,)}


def test_rows_of_one_id_in_two_files_are_kept_apart() -> None:
    mixed = held_out_sets({"one": rows("test.jsonl", 2), "two": rows("test.jsonl", 2)})
    assert places_by_set(mixed) == {"one": (0, 2), "two": (1, 3)}


def test_verls_data_source_makes_sets_where_there_are_several() -> None:
    both = [*rows("a", 3, data_source="gsm8k"), *rows("b", 2, data_source="math")]
    assert places_by_set(both) == {"gsm8k": (0, 1, 2), "math": (3, 4)}
    assert places_by_set(both[:3]) == {}
    assert places_by_set(rows("a", 3)) == {}
    assert places_by_set([*both[:1], *rows("c", 1)]) == {"gsm8k": (0,), "others": (1,)}
    named = held_out_sets({"x": both})
    assert places_by_set(named) == {}  # a name given goes before the column


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_the_first_of_each_set(count: int) -> None:
    both = [*rows("a", 3, data_source="gsm8k"), *rows("b", 2, data_source="math")]
    whole = ["a:0", "b:0", "a:1", "b:1", "a:2"]
    assert ids(first_of_each_set(both, count)) == [each for each in whole if int(each[-1]) < count]
    assert ids(first_of_each_set(rows("a", 3), count)) == ["a:0", "a:1", "a:2"][:count]


def test_files_by_name(tmp_path: Path) -> None:
    for name, count in (("train", 4), ("easy", 2), ("hard", 1)):
        lines = [json.dumps({"question": f"{name} {n}?", "answer": "1"}) for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    sets = {name: tmp_path / f"{name}.jsonl" for name in ("easy", "hard")}
    task = from_file(tmp_path / "train.jsonl", "answer", held_out=sets)
    assert len(task.train) == 4
    assert [set_of(row) for row in task.held_out] == ["easy", "hard", "easy"]
    plain = from_file(tmp_path / "train.jsonl", "answer", held_out=tmp_path / "easy.jsonl")
    assert [set_of(row) for row in plain.held_out] == ["", ""]
    with pytest.raises(UserError, match=r"none\.jsonl"):
        from_file(tmp_path / "train.jsonl", "answer", held_out=sets | {"none": tmp_path / "none.jsonl"})
