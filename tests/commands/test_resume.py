"""``groupwise resume``, ``report`` and ``list``: on a run of the real command that was stopped after a step."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from groupwise.cli import main
from groupwise.commands.resume import command_of
from groupwise.errors import UserError
from groupwise.sinks.jsonl import JsonLines

WORDS = [
    "--steps",
    "3",
    "--checkpoint_every",
    "1",
    "--prompts_per_step",
    "2",
    "--learner.threads",
    "1",
    "--evaluation.problems",
    "2",
]
DATA = ["--model", "model", "--data", "rows.jsonl"]


@pytest.fixture
def stopped(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> tuple[Path, str]:
    """A run that was asked to stop at its second step, and what was said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(tiny_model)
    rows = [{"prompt": f"{at} + 1 =", "completion": f"{at + 1}"} for at in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keeps = JsonLines.metrics

    def stops(self: JsonLines, stage: str, step: int, values: Any) -> None:
        keeps(self, stage, step, values)
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(JsonLines, "metrics", stops)
        assert main(["run", "sft", *DATA, *WORDS, "--out", "runs/short"]) == 128 + signal.SIGTERM
    told = capsys.readouterr()
    return tmp_path / "runs" / "short", told.out + told.err


def test_a_stopped_run_has_a_report_is_listed_and_goes_on_by_its_directory_alone(
    stopped: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run, said = stopped
    assert re.search(r"report: runs/short/report\.html", said)
    assert "to continue" in said
    assert "</html>" in (run / "report.html").read_text()
    assert main(["list"]) == 0
    assert re.search(r"runs/short +stopped +sft 2/3", capsys.readouterr().out)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["resume", "../runs/short"]) == 0
    assert Path.cwd() == elsewhere
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    capsys.readouterr()
    assert main(["resume", "../runs/short", "--steps", "4"]) == 0
    assert "--steps=4" in capsys.readouterr().err
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 4
    assert main(["list", "../runs", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["status"] == "finished"
    assert main(["report", "../runs/short", "--out", "page.html"]) == 0
    assert "</html>" in Path("page.html").read_text()


def record(place: Path, **more: Any) -> Path:
    place.mkdir()
    (place / "run.json").write_text(json.dumps({"name": "x", "recipe": {}, **more}))
    return place


def test_the_command_keeps_its_words_but_those_of_the_directory(tmp_path: Path) -> None:
    words = ["grpo", "--data", "a", "--data", "b", "--out", "there", "--fresh", "--steps", "3", "--lr=-1"]
    place = record(tmp_path / "run", command={"words": words, "directory": "/somewhere"})
    found, where = command_of(place, ["--steps", "5"])
    assert found == ["grpo", "--data=a", "--data=b", "--lr=-1", "--steps=5", f"--out={place}"]
    assert where == Path("/somewhere")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (None, "from Python"),
        ({"words": ["grpo", "--key=***"], "directory": "/"}, "secret"),
        ({"words": "grpo"}, "from Python"),
    ],
)
def test_a_run_without_a_command_says_so(command: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        command_of(record(tmp_path / "run", command=command))


def test_what_is_no_run_is_named(tmp_path: Path, capsys: Any) -> None:
    assert main(["resume", str(tmp_path / "none")]) == 2
    assert "no such directory" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert main(["list", str(tmp_path / "none")]) == 2
    gone = record(tmp_path / "run", command={"words": ["grpo"], "directory": str(tmp_path / "gone")})
    assert main(["resume", str(gone)]) == 2
    assert "no longer there" in capsys.readouterr().err
    assert main(["resume", str(gone), "words"]) == 2
    assert main(["list", str(tmp_path / "run" / "..")]) == 0
    assert main(["resume", "--help"]) == 0


@pytest.mark.parametrize("words", [["--out", "elsewhere"], ["--fresh"], ["--out=x", "--steps", "3"]])
def test_what_would_be_another_run_is_refused(words: list[str], tmp_path: Path) -> None:
    record = {"recipe": {"seed": 0}, "command": {"words": ["grpo"], "directory": str(tmp_path)}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=f"{words[0].partition('=')[0]}: .* groupwise run"):
        command_of(tmp_path, words)


def test_a_look_before_going_on_stays_one(tmp_path: Path) -> None:
    record = {"recipe": {"seed": 0}, "command": {"words": ["grpo", "--fresh", "--dry_run"], "directory": str(tmp_path)}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "--dry_run" not in command_of(tmp_path)[0]
    assert "--dry_run" in command_of(tmp_path, ["--dry_run"])[0]
