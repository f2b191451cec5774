"""``groupwise list``: runs below a directory, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groupwise.cli import main
from groupwise.commands.list import _fitting


def make(place: Path, **record: Any) -> Path:
    """A run that has made two of nine steps."""
    place.mkdir(parents=True)
    known = {"name": place.name, "recipe": {"seed": 0}, "stages": [{"name": "grpo", "steps": 9}], "started": 1.0}
    (place / "run.json").write_text(json.dumps(known | record))
    rows = [{"stage": "grpo", "step": at, "reward": 0.5} for at in (1, 2)]
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def test_runs_are_a_line_each_the_newest_last(tmp_path: Path, capsys: Any) -> None:
    make(tmp_path / "deep" / "new é x", started=9.0)
    make(tmp_path / "old")
    assert main(["list", str(tmp_path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "status", "step", "before", "after", "started"]
    assert [line.partition("  ")[0] for line in lines] == [str(tmp_path / "old"), str(tmp_path / "deep" / "new é x")]
    assert all("stopped" in line and "grpo 2/9" in line for line in lines)


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"recipe": 3}', "\x00" * 40])
def test_a_run_whose_record_cannot_be_read_is_named(tmp_path: Path, text: str, capsys: Any) -> None:
    make(tmp_path / "whole")
    (make(tmp_path / "half") / "run.json").write_text(text)
    assert main(["list", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "whole" in said.out
    assert "half" not in said.out
    assert f"left out: {tmp_path / 'half' / 'run.json'} holds no run's record" in said.err


def test_a_file_of_that_name_elsewhere_is_nobodys_run(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "run.json").write_text('{"scripts": {}}')
    assert main(["list", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "no runs yet" in said.out
    assert not said.err


def test_where_no_run_was_made_there_is_none(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 0
    assert "runs: no runs yet; groupwise run makes them" in capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["list", "elsewhere"]) == 2
    assert "elsewhere: no such directory; expected a directory that holds runs" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["list", "file"]) == 2
    assert "file: is a file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["resume", "export", "report"])
@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "has no run.json"), ("{}", "holds no run's record"), ("[", "holds no run's record")],
)
def test_a_directory_that_is_no_runs_is_refused(
    tmp_path: Path, command: str, text: str | None, words: str, capsys: Any
) -> None:
    place = make(tmp_path / "run")
    (place / "run.json").unlink()
    if text is not None:
        (place / "run.json").write_text(text)
    if (command, text) in (("report", "{}"), ("report", "[")):
        return  # the page shows what there is
    assert main([command, str(place), *(["--metrics", str(tmp_path / "m.csv")] if command == "export" else [])]) == 2
    assert words in capsys.readouterr().err
    assert main([command, str(place / "metrics.jsonl"), *(["--metrics", "m.csv"] if command == "export" else [])]) == 2
    assert "is a file" in capsys.readouterr().err


def test_columns_are_left_out_from_the_right(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [_fitting([30, 8, 10, 6, 5, 16], room) for room in (None, 85, 84, 60, 40, 10)] == [6, 6, 5, 4, 2, 2]
    make(tmp_path / "中文")
    make(tmp_path / "abcd", started=2.0)
    monkeypatch.chdir(tmp_path)
    assert main(["list", "."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("stopped")[0] for line in lines[1:]] == ["中文  ", "abcd  "]
