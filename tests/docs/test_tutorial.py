"""The tutorial's commands run, or are read, in their own words; its numbers are those of the files of benchmarks."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from groupwise import NewModel
from groupwise.cli import main
from groupwise.commands import run
from groupwise.commands.request import read_request

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL, QUESTIONS = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("tutorial", "questions"))
COMMANDS = [
    line
    for text in re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL)
    for line in re.findall(r"^\$ groupwise (.*)", text, re.MULTILINE)
]
RUNS = [command for command in COMMANDS if command.startswith("run ")]
READ = [command for command in COMMANDS if not command.startswith("run ")]
SMALL = [
    "--steps",
    "2",
    "--evaluation.problems",
    "2",
    "--evaluation.sampled_problems",
    "1",
    "--evaluation.samples",
    "2",
]
SMALL += ["--max_completion_tokens", "6", "--learner.threads", "1"]


MADE = ("runs/tutorial/grpo", "runs/tutorial/ppo")
"""Runs that are made; the words of the others are read."""


def smallest(words: list[str]) -> list[str]:
    """The words of a run with its numbers made small."""
    for option in ("--prompts_per_step", "--group_size"):
        if option in words:
            del words[words.index(option) : words.index(option) + 2]
    group = "1" if "ppo" in words else "2"
    return [*words, *SMALL, "--prompts_per_step", "2", "--group_size", group]


def accept(words: list[str]) -> None:
    """Reads the words of a run to the recipe that would be run."""
    request = read_request(words, run._parser, run.USAGE)
    recipe, request, _, others = run.read_recipe(request)
    assert recipe is not None
    request.tuned(recipe, "groupwise run", others)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as ``make quickstart`` leaves it, with a model that has learned nothing."""
    place = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(ROOT / "examples", place / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    model = NewModel(hidden_size=16, layers=1, heads=2, intermediate_size=32, context_tokens=128)
    model.save(place / "runs" / "quickstart" / "models" / "sft")
    return place


def test_it_has_a_command_and_an_explanation_for_each_idea() -> None:
    said = " ".join(COMMANDS)
    for method in ("ppo", "grpo", "grpo_process", "gspo"):
        assert f"run {method} " in said
        assert f"explain {method} " in said
    assert "run examples/iterative.py" in said
    assert "--kl.estimator k1" in said


def test_the_runs_are_accepted_and_explained(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the page's order, since one reads what another left."""
    monkeypatch.chdir(place)
    for command in RUNS:
        _, *words = shlex.split(command)
        if words[words.index("--out") + 1] in MADE:
            assert main(["run", *smallest(words)]) == 0, command
        else:
            accept(words)
    for command in READ:
        words = shlex.split(command)
        if words[0] == "compare":
            words = [word for word in words if word in MADE or not word.startswith("runs/")]
        if "--run" in words and words[words.index("--run") + 1] not in MADE:
            words = words[: words.index("--run")]
        assert main(words) == 0, command
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", ["tutorial", "questions"])
def test_the_numbers_are_those_of_the_file(name: str) -> None:
    found = json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import questions_page
        import tutorial
    finally:
        sys.path.pop(0)
    text = {"tutorial": TUTORIAL, "questions": QUESTIONS}[name]
    filled = tutorial.filled(text, found["runs"]) if name == "tutorial" else questions_page.filled(text, found)
    assert filled == text, f"run python benchmarks/{name}.py --page"
    waiting = re.findall(r"<!-- ([\w-]+) -->\nNot measured yet", text)
    measured = found["runs"] if name == "tutorial" else questions_page.sentences(found)
    assert set(waiting) & set(measured) == set()


def test_the_questions_are_all_there() -> None:
    asked = re.findall(r"^## (.*)", QUESTIONS, re.MULTILINE)
    for words in ("baseline", "π_ref", "KL", "pairs", "responses", "labels", "memory"):
        assert any(words in question for question in asked), words
    assert len(asked) == 7
