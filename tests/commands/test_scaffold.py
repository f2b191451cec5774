"""``groupwise new``: everything it writes runs, and it overwrites nothing."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys

import pytest

from groupwise.commands.scaffold import new
from groupwise.errors import UserError


def test_it_writes_a_small_task(tmp_path):
    files = new("mytask", tmp_path)
    assert [file.name for file in files] == ["data.jsonl", "reward.py", "test_reward.py", "recipe.py", "README.md"]
    assert all(file.parent == tmp_path / "mytask" and file.read_text() for file in files)
    assert len(files[0].read_text().splitlines()) == 12
    assert "groupwise run mytask/recipe.py" in files[-1].read_text()


def test_its_own_tests_pass(tmp_path):
    new("my-task_2", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my-task_2"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "7 passed" in result.stdout
    assert result.returncode == 0


def test_its_recipe_is_a_run(tmp_path):
    recipe = next(file for file in new("mytask", tmp_path) if file.name == "recipe.py")
    run = runpy.run_path(str(recipe))["run"]
    assert run.name == "mytask"
    assert [stage.name for stage in run.stages] == ["sft", "grpo"]
    task = run.stages[0].task
    assert (len(task.train), len(task.held_out)) == (9, 3)
    assert [reward.name for reward in task.rewards] == ["letters_in_place"]
    assert all(example.completion == example.answer for example in task.train)


@pytest.mark.parametrize("check", [["format", "--check"], ["check", "--select=E,F,UP,B"]])
def test_its_files_are_formatted(tmp_path, check):
    pytest.importorskip("ruff", reason="ruff is not here")
    new("mytask", tmp_path)
    command = [sys.executable, "-m", "ruff", *check, "--isolated", "--no-cache", "--line-length=120", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mytask").mkdir()
    (tmp_path / "afile").write_text("mine")
    for name in ("mytask", "afile"):
        with pytest.raises(UserError, match=f"{name} is there already"):
            new(name, tmp_path)
    assert os.listdir(tmp_path / "mytask") == []
    assert (tmp_path / "afile").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "a/b", "../a", "1a", "a b", ".a", "-a", "a" * 65, "ä", "a\n", "a.py"])
def test_a_bad_name_is_an_error(tmp_path, name):
    with pytest.raises(UserError, match="can't name a task"):
        new(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
