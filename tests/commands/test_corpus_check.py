"""groupwise corpus check, and --decontaminate, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.cli import main

QUESTION = "Tom has 12 red marbles and gives 5 of them to his sister Ann. How many are left?"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    benchmark, data = tmp_path / "bench.jsonl", tmp_path / "train.jsonl"
    benchmark.write_text(json.dumps({"question": QUESTION, "answer": "7"}) + "\n", encoding="utf-8")
    rows = [{"prompt": f"What is {n}+1?", "completion": f"{n + 1}"} for n in range(3)]
    rows.insert(1, {"prompt": QUESTION.upper(), "completion": "7"})
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(data), str(benchmark)


def test_a_hit_is_shown_with_row_benchmark_item_and_text(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, benchmark = files
    clean, report = tmp_path / "clean.jsonl", tmp_path / "hits.json"
    assert main(["corpus", "check", data, "--against", benchmark]) == 1
    shown = capsys.readouterr().out
    assert "train.jsonl:2" in shown
    assert "tom has 12 red marbles" in shown
    assert "1 of 4 rows" in shown
    assert main(["corpus", "check", data, "--against", benchmark, "--clean", str(clean), "--json", str(report)]) == 0
    assert [json.loads(line)["completion"] for line in clean.read_text(encoding="utf-8").splitlines()] == [
        "1",
        "2",
        "3",
    ]
    (hit,) = json.loads(report.read_text(encoding="utf-8"))["hits"]
    assert (hit["row"], hit["benchmark"], hit["item"], hit["rule"]) == ("train.jsonl:2", "bench", 0, "grams")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["chekc"], "perhaps you meant check"),
        (["check", "x.jsonl"], "--against"),
        (["check", "x.jsonl", "--against", "nothing"], "no such benchmark"),
    ],
)
def test_mistakes_are_answered(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", *words]) == 2
    assert expected in capsys.readouterr().err


def test_a_run_leaves_such_rows_out(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    from groupwise.commands.request import read_request
    from groupwise.commands.run import _parser, read_recipe

    data, benchmark = files
    words = ["sft", "--model", "none", "--data", data, "--held_out", "0", "--decontaminate", benchmark]
    recipe, *_ = read_recipe(read_request(words, _parser, ""))
    assert recipe is not None
    assert [row.completion for row in recipe.stages[0].task.train] == ["1", "2", "3"]
    assert "1 of 4 training rows hold benchmark items: left out" in capsys.readouterr().out


def test_a_run_without_clean_rows_is_refused(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, benchmark = files
    line = ["run", "sft", "--model", "none", "--data", benchmark, "--held_out", "0", "--decontaminate", benchmark]
    assert main(line) == 2
    assert "every training row" in capsys.readouterr().err
