"""The command: problems first, an exit code for scripts, JSON for others, and nothing in runs/."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from groupwise.cli import main

ROWS = "".join(json.dumps({"question": f"{n} + 1 = ?", "answer": str(n + 1)}) + "\n" for n in range(20))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "train.jsonl").write_text(ROWS)
    (tmp_path / "mine.py").write_text("def never(completion):\n    return 0.0\n")
    return tmp_path


def check(model: Path, *words: str) -> int:
    options = ["--model", str(model), "--data", "train.jsonl", "--algorithm.source.max_completion_tokens", "8"]
    return main(["check", "grpo", *options, "--learner.threads", "1", "--limit_seconds", "2", *words])


def test_a_method_on_a_model_and_data(tiny_model: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tiny_model, "--reward", "math", "--json", "found.json") == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith("Nothing was found that would break.")
    assert "16 prompts x 8 completions = 128 a step" in said
    assert all(len(line) <= 118 for line in said.splitlines())
    kept = json.loads((here / "found.json").read_text())
    assert {"batch", "data", "template", "reward", "engine", "signal", "memory", "time"} <= {
        each["part"] for each in kept["findings"]
    }
    assert sorted(path.name for path in here.iterdir()) == ["found.json", "mine.py", "train.jsonl"]


def test_a_problem_comes_first_and_is_the_exit_code(
    tiny_model: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tiny_model, "--reward", "mine.py:never") == 1
    said = capsys.readouterr().out
    assert said.startswith("Would break\n  - grpo: reward: 'never' gives 0 of 18 gold answers full reward")
    assert "1 problem: mend what stands first" in said


def test_it_takes_the_options_of_run(tiny_model: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tiny_model, "--reward", "math", "--prompts_per_step", "4", "--steps", "7") == 0
    assert "in 7 steps 7 updates, 28 prompts" in " ".join(capsys.readouterr().out.split())  # however wide a terminal is
    assert check(tiny_model, "--reward", "math", "--prompts_per_stp", "4") == 2
    assert "unknown option --prompts_per_stp: perhaps you meant --prompts_per_step" in capsys.readouterr().err
    assert main(["check", "--help"]) == 0
    assert "groupwise check RECIPE.py" in capsys.readouterr().out
