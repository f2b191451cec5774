"""``groupwise chat MODEL --task FILE.py``: an environment talks with the model, or with a person in its place."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from groupwise.cli import main

GUESS = '''
import groupwise as gw
from groupwise.environments import Says, Turns


def guess(row, random):
    """Warmer for an odd number of letters."""
    if row["letter"] == "?":
        raise ValueError("no letter")
    said = yield f"{random.randint(0, 10**9)}: which letter? \\x1b[31m"
    for left in range(2):
        if row["letter"] in said:
            return {"reward": 1.0, "success": True, "left": left}
        if "stop" in said:
            raise RuntimeError("boom")
        said = yield Says(f"no, {len(said)}", reward=0.25 if len(said) % 2 else 0.0)
    return 0.0


rows = [{"letter": "a"}, {"letter": "b"}, {"letter": "?"}]
task = gw.Task("guess", rows, environment=guess, turns=3)
'''
SUMS = '''
import groupwise as gw
from groupwise.rewards import by_name
from groupwise.types import Example


def add(a: int, b: int) -> str:
    """Adds.

    Args:
        a: One.
        b: Another.
    """
    return str(a + b)


rows = [Example("sums:0", "2 + 3 = ?", answer="5")]
sums = gw.Task("sums", rows, rewards=(by_name("math"),), tools=(add,), turns=3)
'''
Play = Callable[..., tuple[int, str, str]]


@pytest.fixture
def play(
    roomy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Play:
    """``play(options, typed="", file=GUESS)``: exit code, what was printed, and what beside it."""

    def run(*options: str, typed: str = "", file: str = GUESS, name: str = "") -> tuple[int, str, str]:
        path = tmp_path / "file.py"
        path.write_text(file, encoding="utf-8")
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = main(["chat", str(roomy_model), "--task", f"{path}{name}", "--device", "cpu", *options])
        return code, *capsys.readouterr()

    return run


def test_a_person_plays_the_model(play: Play) -> None:
    code, said, beside = play("--me", typed="zz\nxyz\na\n")
    assert code == 0
    assert re.fullmatch(
        r"\[user\] \d+: which letter\? ␛\[31m\n\[you\] zz\n\[user\] no, 2\n\[you\] xyz\n"
        r"\[user\] no, 3  \(reward \+0\.25\)\n\[you\] a\nreward 0\.25, no success; finished after 3 turns\n",
        said,
    )
    assert "at most 3 turns and 512 tokens. You are the model" in beside
    assert "row 0 (guess.train:0), seed 0" in beside


def test_a_success_says_what_the_environment_counted(play: Play) -> None:
    said = play("--me", "--row", "1", typed="b\n")[1]
    assert said.endswith("reward 1, success; finished after 1 turn (left 0)\n")


def test_a_line_that_ends_with_a_backslash_goes_on(play: Play) -> None:
    assert "[user] no, 5" in play("--me", typed="yy\\\nyy\na\n")[1]


def test_budgets_are_those_of_a_run(play: Play) -> None:
    long = play("--me", "--max_completion_tokens", "4", typed="yyyyyyyy\n")[1]
    assert long.endswith("reward 0, no success; truncated after 1 turn\n")
    few = play("--me", typed="x\n" * 3, file=GUESS.replace("turns=3", "turns=Turns(most=2)"))[1]
    assert few.endswith("reward 0.5, no success; turns after 2 turns\n") or "turns after 2 turns" in few


def test_the_seed_chooses_the_world(play: Play) -> None:
    worlds = [play("--me", "--seed", seed, typed="a\n")[1].splitlines()[0] for seed in ("1", "1", "2")]
    assert worlds[0] == worlds[1] != worlds[2]


def test_the_model_answers_and_the_same_seed_gives_the_same_words(play: Play) -> None:
    found = [play("--temperature", "1", "--seed", "4", "--max_completion_tokens", "12") for _ in range(2)]
    assert found[0] == found[1]
    code, said, _ = found[0]
    assert code == 0
    assert "\n[model] " in said
    assert re.search(r"reward [\d.]+, (no )?success; (finished|truncated|turns|context) after \d turns?\n$", said)


def test_leaving_early_is_no_error(play: Play) -> None:
    code, said, beside = play("--me", typed="x\n")
    assert code == 0
    assert said.endswith("(reward +0.25)\n")
    assert beside.endswith("left before the end\n")


def test_a_fault_in_the_environment_is_shown_where_it_is(play: Play) -> None:
    said = play("--me", typed="stop\n")[1]
    assert re.search(r"no reward; failed after 1 turn: raised RuntimeError: boom at \S+file\.py:\d+\n$", said)
    code, _, beside = play("--me", "--row", "2")
    assert code == 2
    assert "guess.train:2: the environment guess did not begin: raised ValueError: no letter at" in beside


def test_a_person_calls_tools(play: Play) -> None:
    typed = '/call add {"a": 2, "b": 3}\n/call add {"a"\n/call add [1]\n/call nothing {}\n\\boxed{5}\n'
    _, said, beside = play("--me", typed=typed, file=SUMS)
    assert "[tool add] 5\n" in said
    assert "tools/failed 1" in said
    assert "tool add(a, b): Adds." in beside
    assert '{"a" is no JSON' in beside
    assert "[1] is no object" in beside
    assert "reward 1, success; finished after 3 turns (tools/calls 2" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--row", "3"), "--row is 3; guess has the rows 0 to 2"),
        (("--against", "x"), "--against does not go with --task"),
        (("--prompt", "x"), "--prompt does not go with --task"),
        (("--remember",), "--remember does not go with --task"),
    ],
)
def test_what_does_not_go_together_is_refused(play: Play, options: tuple[str, ...], words: str) -> None:
    code, _, beside = play(*options)
    assert code == 2
    assert words in beside


@pytest.mark.parametrize(
    ("file", "name", "words"),
    [
        ("x = 1", "", "it defines no task; expected task = Task(...)"),
        (GUESS.replace("task =", "one =") + "two = one\nimport dataclasses\nthree = dataclasses.replace(one)", "", ""),
        (GUESS, ":nothing", "it defines no nothing"),
        (GUESS, ":rows", "its rows is list"),
        ("import groupwise as gw\ntask = gw.Task('t', ())", "", "t has neither environment nor tools"),
        ("1 / 0", "", "ZeroDivisionError"),
        (GUESS.replace("rows, environment", "[], environment"), "", "guess has no rows to play"),
        ("def run(model: str):\n    return 1", "", "its function run has parameters without a default"),
    ],
)
def test_a_file_without_a_task_to_play_is_refused(play: Play, file: str, name: str, words: str) -> None:
    code, _, beside = play("--me", file=file, name=name)
    assert code == 2
    assert words in beside or "say which: --task FILE.py:one" in beside


def test_me_needs_a_task(roomy_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", str(roomy_model), "--me"]) == 2
    assert "--me goes with --task FILE.py" in capsys.readouterr().err
    assert main(["chat", str(roomy_model), "--task", "stepwise"]) == 2
    assert "expected a Python file whose task has an environment" in capsys.readouterr().err


def test_a_run_gives_the_task_of_its_last_stage(play: Play) -> None:
    stage = "gw.Stage('grpo', gw.recipes.grpo, games, steps=1)"
    lines = f"games = (task,)\ndef run(model: str = 'x'):\n    return gw.Run('r', model, ({stage},))\n"
    file = GUESS + lines.replace("games, steps", "games[0], steps") + "games = (task,)\ndel task\n"
    assert play("--me", typed="a\n", file=file)[1].endswith("reward 1, success; finished after 1 turn (left 0)\n")
