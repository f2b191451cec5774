"""The pages on options and adapters: their commands and files mean what they say."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from groupwise import Lora
from groupwise.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
OPTIONS, LORA = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("options", "lora"))


@pytest.fixture
def place(roomy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "PATH").symlink_to(roomy_model)
    rows = [json.dumps({"prompt": f"{number} + 1 = ?", "answer": str(number + 1)}) for number in range(20)]
    for name in ("train", "more", "test"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    (tmp_path / "my_reward.py").write_text(
        "def brevity(completions, **columns):\n    return [0.0] * len(completions)\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_on_the_page_is_a_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", OPTIONS, re.DOTALL)
    (place / "run.toml").write_text(text)
    assert main(["run", "run.toml", "--dry_run"]) == 0
    recipe = json.loads(capsys.readouterr().out)
    (stage,) = recipe["stages"]
    assert (stage["steps"], stage["learning_rate"], recipe["learner"]["lora"]["rank"]) == (200, 2e-6, 16)
    assert stage["algorithm"]["source"]["max_completion_tokens"] == recipe["evaluation"]["max_completion_tokens"] == 512
    assert len(stage["task"]["rewards"]) == 2


@pytest.mark.parametrize("text", [OPTIONS, LORA], ids=["options", "lora"])
def test_commands_of_the_pages_work(place: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    lines = [line.partition("      ")[0] for line in re.findall(r"^    groupwise (run grpo .*)", text, re.MULTILINE)]
    assert lines
    for line in lines:
        if "..." not in line and "numbers.toml" not in line:
            assert main([*shlex.split(line), "--dry_run"]) == 0, capsys.readouterr().err


def test_the_page_on_adapters_names_every_option() -> None:
    assert set(re.findall(r"`--lora\.(\w+)`", LORA)) == {field.name for field in fields(Lora)}
