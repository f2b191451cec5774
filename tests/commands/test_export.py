"""``groupwise export``: a run's parts as files for others, from a ledger written by hand."""

from __future__ import annotations

import csv
import errno
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from groupwise.cli import main
from groupwise.storage.manifest import write_manifest

TEXTS = ("=cmd|'/c calc'!A1", "-5", 'a,\n"b"', "é\x1b[31m")
SCORES = pyarrow.map_(pyarrow.string(), pyarrow.float64())


def step(place: Path, number: int, **more: Any) -> None:
    columns = {
        "stage": pyarrow.array(["grpo"] * 4),
        "step": pyarrow.array([number] * 4),
        "text": pyarrow.array(TEXTS),
        "reward": pyarrow.array([1.0, math.nan, math.inf, None]),
        "scores": pyarrow.array([[("math", 1.0)], [("math", None)], None, []], SCORES),
        "logprobs": pyarrow.array([[-0.5], [-math.inf], [], None], pyarrow.list_(pyarrow.float32())),
    }
    place.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns | more), place / f"{number:06d}.parquet")


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Path:
    """A run of two stages, of which the first has left its model with an adapter."""
    place = tmp_path / "run"
    left = place / "models" / "grpo"
    shutil.copytree(tiny_model, left)
    (left / "adapter").mkdir()
    (left / "adapter" / "adapter_config.json").write_text("{}")
    write_manifest(left)
    stages = [{"name": "grpo", "steps": 9}, {"name": "later", "steps": 9}]
    (place / "run.json").write_text(json.dumps({"name": "run", "recipe": {}, "stages": stages}))
    for number in (1, 2):
        step(place / "ledger" / "grpo", number)
    step(place / "ledger" / "grpo", 10, later=pyarrow.array([7] * 4))
    rows = [{"stage": "grpo", "step": at, "reward": at / 2} for at in (1, 2)]
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture
def export(run: Path, capsys: Any) -> Callable[..., str]:
    def said(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["export", str(run), *words]) == code
        told = capsys.readouterr()
        return str(told.err if code else told.out)

    return said


def test_rows_of_json_hold_everything(export: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "out" / "rows.jsonl"
    assert "12 rollouts of 3 steps" in export("--ledger", str(path))
    rows = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert [row["text"] for row in rows[:4]] == list(TEXTS)
    assert [row["reward"] for row in rows[:4]] == [1.0, None, None, None]
    assert rows[0]["scores"] == {"math": 1.0}
    assert rows[1]["logprobs"] == [None]
    assert [row["step"] for row in rows] == [1] * 4 + [2] * 4 + [10] * 4


def test_a_table_holds_no_formula_and_no_tokens(export: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    export("--ledger", str(path), "--steps", "2")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert "logprobs" not in rows[0]
    assert [row["text"] for row in rows] == [f"'{TEXTS[0]}", *TEXTS[1:]]
    assert json.loads(rows[0]["scores"]) == {"math": 1.0}


def test_one_parquet_file_has_the_columns_of_all_steps(export: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    export("--ledger", str(path))
    table = pyarrow.parquet.read_table(path)
    assert table["later"].to_pylist() == [None] * 8 + [7] * 4
    assert table["text"].to_pylist() == list(TEXTS) * 3


@pytest.mark.parametrize(
    ("steps", "kept"), [("1", {1}), ("2-", {2, 10}), ("-2", {1, 2}), ("2-9", {2}), ("1-10", {1, 2, 10})]
)
def test_steps_are_chosen(export: Callable[..., str], tmp_path: Path, steps: str, kept: set[int]) -> None:
    export("--ledger", str(tmp_path / "rows.jsonl"), f"--steps={steps}")
    assert {json.loads(line)["step"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()} == kept


def test_a_model_is_copied_whole_and_an_adapter_alone(
    export: Callable[..., str], run: Path, tmp_path: Path, tiny_model: Path
) -> None:
    export("--model", str(tmp_path / "model"), "--adapter", str(tmp_path / "adapter"))
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    assert (tmp_path / "adapter" / "adapter_config.json").exists()
    assert "there already" in export("--model", str(tmp_path / "model"), code=2)
    export("--model", str(tmp_path / "model"), "--fresh")
    export("--metrics", str(tmp_path / "m.csv"))
    assert (tmp_path / "m.csv").read_text().splitlines() == ["stage,step,reward", "grpo,1,0.5", "grpo,2,1.0"]


def test_what_a_model_has_behind_links_is_copied(export: Callable[..., str], run: Path, tmp_path: Path) -> None:
    adapter, elsewhere = run / "models" / "grpo" / "adapter", tmp_path / "elsewhere"
    shutil.move(adapter, elsewhere)
    adapter.symlink_to(elsewhere)
    export("--model", str(tmp_path / "out"))
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").read_text() == "{}"


def test_a_full_disk_is_one_line_that_names_the_place(
    export: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    told = export("--model", str(tmp_path / "model"), code=2)
    assert told.startswith(f"groupwise export: {tmp_path / 'model'}: could not be written, the disk is full; ")
    assert told.count("\n") == 1
    assert not list(tmp_path.glob("*model*"))


def test_what_cannot_be_exported_is_named(export: Callable[..., str], run: Path, tmp_path: Path) -> None:
    inside = run / "models" / "grpo" / "copy"
    for words, told in (
        ([], "nothing was asked"),
        (["--ledger", "x.txt"], "ends in none of"),
        (["--ledger", "x.jsonl", "--stage", "later"], "there are steps 1 to 10 of grpo"),
        (["--ledger", "x.jsonl", "--steps", "3-1"], "begins after its end"),
        (["--ledger", "x.jsonl", "--steps", "x"], "expected 50"),
        (["--model", "x", "--stage", "none"], "has no stage none"),
        (["--model", "x", "--stage", "later"], "left no model yet"),
        (["--model", str(inside)], "run's own"),
        (["--metrics", "x.tsv"], "does not end in .csv"),
    ):
        assert told in export(*words, code=2)
    (run / "models" / "grpo" / "config.json").write_text("{}")
    assert "damaged" in export("--model", str(tmp_path / "x"), code=2)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("left", [b"", b"PAR1", b"half"])
def test_a_damaged_step_is_left_out_and_named(
    export: Callable[..., str], run: Path, tmp_path: Path, form: str, left: bytes
) -> None:
    (run / "ledger" / "grpo" / "000002.parquet").write_bytes(left)
    said = export("--ledger", str(tmp_path / f"rows.{form}"))
    assert "8 rollouts of 2 steps; left out, since their files are damaged: grpo 2" in said


def test_a_ledger_that_is_all_damaged_is_refused(export: Callable[..., str], run: Path, tmp_path: Path) -> None:
    for path in (run / "ledger" / "grpo").iterdir():
        path.write_bytes(b"")
    assert "is damaged, and so is every step" in export("--ledger", str(tmp_path / "rows.jsonl"), code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_step_that_is_damaged_in_its_middle_is_named(export: Callable[..., str], run: Path, tmp_path: Path) -> None:
    path = run / "ledger" / "grpo" / "000002.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\x00" * 400 + whole[404:])
    said = export("--ledger", str(tmp_path / "rows.jsonl"), code=2)
    assert "000002.parquet: is damaged, so this step cannot be read" in said
    assert not list(tmp_path.glob("*rows*"))


def test_two_parts_of_one_name_are_refused(export: Callable[..., str], tmp_path: Path) -> None:
    path = str(tmp_path / "rows.csv")
    assert "two parts have one name" in export("--ledger", path, "--metrics", path, code=2)


@pytest.mark.parametrize("part", ["--ledger", "--metrics"])
def test_a_place_that_cannot_be_written_is_named(export: Callable[..., str], tmp_path: Path, part: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "folder.csv: is a directory" in export(part, str(tmp_path / "folder.csv"), code=2)
    (tmp_path / "file").touch()
    assert "x.csv: cannot be written" in export(part, str(tmp_path / "file" / "x.csv"), code=2)
