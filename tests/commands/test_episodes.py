"""A run with an environment, from end to end, and what its report, explain and evaluate say of its episodes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from groupwise.cli import main

RECIPE = """
import groupwise as gw
from dataclasses import replace
from groupwise.environments import Says

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789 .,:;!?-+*/()[]{}<>=")


def talk(row, random):
    said = yield f"row {row['n']} <script>alert(1)</script>"
    said = yield Says("more & <b>more</b>", reward=0.25 * (len(said) % 2))
    return {"reward": float(len(said) % 2), "success": len(said) % 2 == 1}


rows = [{"n": n} for n in range(4)]
task = gw.Task("talk", rows, held_out=[{"n": 9}], environment=talk, turns=3, stop_strings=LETTERS)
grpo = replace(gw.recipes.grpo, source=gw.OnPolicy(group_size=4, max_completion_tokens=24))
stage = gw.Stage("rl", grpo, task, steps=1, prompts_per_step=4)
model = gw.NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=128)
plan = gw.HeldOut(problems=0)
run = gw.Run("talk", model, (stage,), gw.Local(device="cpu", threads=1), evaluation=plan)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "talk.py"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(recipe: Path) -> Path:
    """The directory of a run of one step."""
    out = recipe.parent / "run"
    assert main(["run", str(recipe), "--out", str(out)]) == 0
    return out


def test_groups_hold_conversations_with_what_each_turn_was_worth(run: Path) -> None:
    groups = json.loads((run / "groups.json").read_text())
    assert {group["opening"][0]["text"][:4] for group in groups} == {"row "}
    for rollout in (rollout for group in groups for rollout in group["rollouts"]):
        turns = [part for part in rollout["said"] if "tokens" in part]
        heard = [part["text"] for part in rollout["said"] if "tokens" not in part]
        assert rollout["stop"] in ("finished", "truncated")
        assert heard == ["more & <b>more</b>"] * (len(turns) - 1)
        assert turns[0]["tokens"][0] == 0
        assert turns[-1]["tokens"][1] == len(rollout["tokens"])
        assert sum(part["reward"] or 0.0 for part in turns) == pytest.approx(rollout["reward"])
        assert {part["advantage"] for part in turns} == {rollout["advantage"]}
        painted = [place for place, value in enumerate(rollout["coefficients"]) if value]
        assert all(any(begin <= place < end for begin, end in (p["tokens"] for p in turns)) for place in painted)


def test_the_report_shows_them_and_nothing_of_theirs_is_markup(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert '"role":"user","tool":"","text":"more & \\u003cb>more\\u003c/b>"' in page
    assert "<b>more" not in page
    assert page.count("<script>") == 1
    assert '"members":4' in page
    assert '"turns":[' in page


def test_explain_shows_two_conversations_and_each_turns_push(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "grpo", "--run", str(run), "--against", "dr_grpo"]) == 0
    said = capsys.readouterr().out
    up, down = (
        said.index("The episode pushed up most: talk.train:"),
        said.index("The one pushed down most: talk.train:"),
    )
    shown = said[up:down]
    turns = len(re.findall(r"^ +\d+ tokens?", shown, re.MULTILINE))
    assert f"after {turns} turn" in " ".join(shown.split())
    assert shown.count("grpo: A +") == 2 * turns
    assert "user                row " in shown
    assert re.search(r"tokens?, reward \+\d", shown)
    assert "tokens: sampled, in so many turns" in said
    record = json.loads((run / "groups.json").read_text())[0]["rollouts"][0]
    assert f"{record['advantage']:+.4f}" in said  # the mean is over what was sampled


def test_evaluate_says_turns_and_stops(run: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--samples", "2", "--max_completion_tokens", "24", "--device", "cpu"]
    assert main(["evaluate", str(run / "models" / "rl"), "--task", str(recipe), *options]) == 0
    said = capsys.readouterr().out
    assert re.search(r"mean turns +[12]\.\d\d", said)
    assert re.search(r"stopped: (finished|truncated) +\d+\.\d%", said)
    assert "mean tokens heard" in said
    assert "correct: by talk" in said


@pytest.mark.parametrize("option", ["--reward", "--judge", "--prompt_column", "--answer_column"])
def test_a_files_task_needs_no_options_of_data(
    run: Path, recipe: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run / "models" / "rl"), "--task", str(recipe), option, "x"]) == 2
    assert f"{option} goes with data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("was", "now", "code", "said"),
    [
        ("", "", 0, "16 went the same"),
        ("more &", "fewer &", 1, "differ first: words"),
        ('float(len(said) % 2), "s', '2.0 + len(said) % 2, "s', 1, "differ first: reward"),
        ("gw.Task", "rows = rows[:0] + [{'n': 7}]; task = gw.Task", 1, "0 went the same; of the others differ first:"),
        ('yield f"row', 'yield f"Row', 1, "message 1 is 'user: Row "),
        ("    said = yield Says", "    1 / 0\n    said = yield Says", 1, "failed (raised ZeroDivisionError"),
    ],
)
def test_a_run_is_played_again(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    was: str,
    now: str,
    code: int,
    said: str,
) -> None:
    changed = tmp_path / "talk.py"
    changed.write_text(RECIPE.replace(was, now, 1) if was else RECIPE, encoding="utf-8")
    where = ["--environment", str(changed)] if was else []
    assert main(["audit", "--run", str(run), *where, "--json", str(tmp_path / "found.json")]) == code
    words = " ".join(capsys.readouterr().out.split())
    assert "step 1 of rl: 16 episodes played again, by talk of" in words
    assert said in words
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["same"] + sum(found["differing"].values()) == found["episodes"] == 16


def test_what_cannot_be_played_again(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, said in (
        (["--run", str(tmp_path)], "no ledger there; --run takes the directory of a run"),
        (["--run", str(run), "--step", "9"], "has no step 9"),
        (["math", "--run", str(run)], "--run RUN brings its own rows and reward"),
        (["math", "--data", "x", "--step", "3"], "--stage and --step choose among the episodes of --run RUN"),
    ):
        assert main(["audit", *words]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
