"""The README's commands run. Models and steps are made small; the words of the commands are the README's own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import warm

from groupwise.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
CONSOLE = re.findall(r"```console\n\$ (.*)", README)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SMALLER = ["--sft.steps", "30", "--grpo.steps", "2", "--grpo.prompts_per_step", "2", "--evaluation.problems", "4"]
SMALLER += ["--evaluation.sampled_problems", "2", "--evaluation.samples", "2", "--evaluation.during", "2"]
SMALLER += ["--learner.threads", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as it is after the first command, made with fewer steps."""
    place = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", place / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    before = Path.cwd()
    os.chdir(place)
    try:
        assert main(["run", "examples/quickstart.py", *SMALLER]) == 0
    finally:
        os.chdir(before)
    return place


def test_the_first_command_is_the_quickstart_recipe(place: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "make quickstart" in README
    assert "run $(RECIPE)" in makefile
    assert "RECIPE ?= examples/quickstart.py" in makefile
    assert (place / "runs" / "quickstart" / "report.html").exists()


@pytest.mark.parametrize("command", CONSOLE)
def test_a_command_of_the_readme_runs(command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    program, *arguments = shlex.split(command)
    assert program == "groupwise"
    monkeypatch.chdir(place)
    assert main(arguments) == 0
    assert capsys.readouterr().out


def test_the_readme_shows_each_command_it_is_about() -> None:
    shown = " ".join(CONSOLE)
    for words in ("run examples/", "run grpo --model", "evaluate", "chat"):
        assert words in shown
    assert "<!-- quickstart -->\n```text\n" in README, "run python tools/docs/readme.py --quickstart"


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_of_the_readme_runs(code: str, place: Path) -> None:
    done = warm.run(["-c", code], cwd=place)
    assert done.returncode == 0, done.stderr
    assert 0 <= float(done.stdout.split()[-1]) <= 1
