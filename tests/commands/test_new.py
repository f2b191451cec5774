"""``groupwise new`` through the command line; what it writes is tested in test_scaffold.py."""

from __future__ import annotations

from groupwise.cli import main


def test_it_writes_here_and_says_what_to_do(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[:2] == ["mine/data.jsonl", "mine/reward.py"]
    assert "groupwise run mine/recipe.py" in shown
    assert (tmp_path / "mine" / "recipe.py").exists()


def test_its_recipe_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine"]) == 0
    shorter = ["--sft.steps", "2", "--grpo.steps", "2", "--grpo.algorithm.source.group_size", "2"]
    assert main(["run", "mine/recipe.py", *shorter, "--evaluation.samples", "1"]) == 0
    assert (tmp_path / "runs" / "mine" / "report.html").exists()


def test_nothing_is_overwritten(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine"]) == 0
    assert main(["new", "mine"]) == 2
    assert "mine is there already" in capsys.readouterr().err
