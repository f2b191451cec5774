"""The commands of the README and of the first pages run, in their own words; models and steps are made small."""

from __future__ import annotations

import importlib.util
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
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("quickstart", "evaluating", "explaining")]
FENCED = re.compile(r"```console\n(.*?)```", re.DOTALL)
CONSOLE = [line for text in FENCED.findall(README) for line in re.findall(r"^\$ (.*)", text, re.MULTILINE)]
CONSOLE += [command for page in PAGES for command in re.findall(r"```console\n\$ (.*)", page.read_text())]
CONSOLE = list(dict.fromkeys(CONSOLE))
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
def test_a_command_runs(command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    program, *arguments = shlex.split(command)
    assert program == "groupwise"
    monkeypatch.chdir(place)
    if arguments[0] == "run" and "--steps" in arguments:
        arguments[arguments.index("--steps") + 1] = "1"
        arguments += ["--prompts_per_step", "2", "--evaluation.problems", "2", "--learner.threads", "1"]
    assert main(arguments) == 0
    assert capsys.readouterr().out


def test_the_pages_show_each_command_they_are_about() -> None:
    shown = " ".join(CONSOLE)
    for words in ("run examples/", "run grpo --model", "evaluate", "chat", "compare", "explain grpo --run"):
        assert words in shown
    first = PAGES[0].read_text()
    assert "<!-- quickstart -->\n```text\n" in first, "run python tools/docs/readme.py --quickstart"


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_of_the_readme_runs(code: str, place: Path) -> None:
    done = warm.run(["-c", code], cwd=place)
    assert done.returncode == 0, done.stderr
    assert 0 <= float(done.stdout.split()[-1]) <= 1
    assert code in PAGES[0].read_text(), "the page shows the same, with what it printed"


def test_the_readme_is_a_first_screen_and_leads_everywhere() -> None:
    """Its length is kept, the test command stands in it, its table is of the file, and every page can be reached."""
    assert len(README.splitlines()) <= 150
    assert "    make test " in README
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "docs" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for text in (README, PAGES[0].read_text()):
        assert tool.section(text, "seeds", tool.seeds()) == text, "run python tools/docs/readme.py"
    linked = {target for target in re.findall(r"\]\(([^)#\s]+)", README) if "://" not in target}
    assert [target for target in sorted(linked) if not (ROOT / target).exists()] == []
    pages = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md")}
    assert pages - linked <= {"docs/index.md"}, "each page is named by the README"
