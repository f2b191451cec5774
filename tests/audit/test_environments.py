"""Players against an environment: who wins that should not, what fails, and what is not the same twice."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from groupwise.audit.environments import PlayerFinding, audit_environment, played
from groupwise.audit.players import HOSTILE
from groupwise.cli import main
from groupwise.environments import Reply, Says, Turns
from groupwise.environments.hosts import Worlds
from groupwise.tasks.task import Task
from groupwise.types import Example

Row = Mapping[str, Any]
ROWS = [Example(f"row:{n}", "two?", ({"role": "assistant", "content": "2"},), columns={"n": n}) for n in range(2)]


def found(environment: Any, rows: list[Any] = ROWS, **options: Any) -> dict[str, PlayerFinding]:
    task = Task("game", rows, environment=environment, turns=Turns(most=3, processes=2), **options)
    assert task.episodes is not None
    return {each.kind: each for each in audit_environment(task.episodes, rows)}


def test_who_plays_as_the_row_shows_should_win_and_nobody_else() -> None:
    def two(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        said = yield None
        return 1.0 if said == "2" else 0.0

    findings = found(two)
    assert {kind for kind, each in findings.items() if each.won} == {"plays as the row shows"}
    assert {each.episodes for each in findings.values()} == {2}
    assert all(each.stops == {"finished": 2} and not each.changing and not each.examples for each in findings.values())


def test_what_rewards_anything_is_named() -> None:
    def kind(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        said = yield "hello"
        yield Says("well", reward=0.25)
        return {"reward": 1.0, "success": len(said) < 5}

    findings = found(kind)
    assert findings["says nothing"].won == findings["says nothing"].earned == 2
    assert findings["says nothing"].examples == ["row:0: won; expected none", "row:1: won; expected none"]
    assert (findings["says much"].won, findings["says much"].earned) == (0, 2)


def test_what_breaks_hears_much_or_changes_its_mind_is_named() -> None:
    def brittle(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        said = yield "hello"
        if not said:
            raise ValueError("nothing was said")
        yield f"it is {time.time_ns()}"
        for _ in range(9):
            yield "and"

    findings = found(brittle)
    assert findings["says nothing"].stops == {"failed": 2}
    assert "row:0: failed: raised ValueError: nothing was said at" in findings["says nothing"].examples[0]
    assert findings["claims to have won"].stops == {"turns": 2}
    assert findings["claims to have won"].changing == 2
    assert (
        findings["claims to have won"].examples[0]
        == "row:0: with the same seed and words it says something else at turn 1"
    )


def test_an_episode_that_nobody_goes_on_with_is_closed_at_once(tmp_path: Path) -> None:
    """Nothing else has to be asked for."""

    def endless(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        try:
            while True:
                yield "and"
        finally:
            (tmp_path / "closed").touch()

    episodes = Task("game", ROWS, environment=endless, turns=Turns(most=1, processes=1)).episodes
    assert episodes is not None
    worlds, until = Worlds(endless, episodes.turns), time.monotonic() + 120.0
    try:
        assert played(worlds, episodes, ROWS[0], HOSTILE[0], 0, 1.0).stop == "turns"
        while not (tmp_path / "closed").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / "closed").exists()
    finally:
        worlds.close()


def test_tools_are_called_wrongly_too_and_what_gives_no_reward_has_no_verdict() -> None:
    def double(a: int) -> int:
        """Doubles.

        Args:
            a: A number.
        """
        return 2 * a

    findings = found(None, tools=(double,))
    assert findings["calls what is not there"].stops == {"turns": 2}
    assert findings["calls a hundred times"].stops == {"turns": 2}
    assert findings["plays as the row shows"].stops == {"finished": 2}
    assert findings["plays as the row shows"].examples == []


FILE = """
import groupwise as gw

def game(row, random):
    said = yield "hello"
    return 1.0 if not said else 0.0

task = gw.Task("game", [{}] * 9, environment=game, turns=2)
"""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "game.py").write_text(FILE)
    asked = ["audit", "--environment", str(tmp_path / "game.py"), "--limit", "2", "--json", str(tmp_path / "a.json")]
    assert main([*asked, "--max_false_positives", "0.05"]) == 1
    shown = capsys.readouterr()
    assert "environment game of game on 2 rows, each played twice" in shown.out
    assert "says nothing: game.train:0: won; expected none" in shown.out
    assert "12.500% of undeserving players won, more than 5.000%" in shown.err
    players = {each["kind"]: each for each in json.loads((tmp_path / "a.json").read_text())["players"]}
    assert players["says nothing"]["won"] == 2
    assert main(asked) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["math"], "expected --data DATA, or --environment FILE.py, or --run RUN"),
        ([], "expected REWARD and --data DATA, or --environment FILE.py, or --run RUN"),
        (["math", "--environment", "game.py"], "brings its own rows and reward; leave REWARD and --data out"),
        (["--environment", "game.txt"], "game.txt: expected a Python file whose task has an environment"),
        (["--environment", "no-such.py"], "no such file"),
    ],
)
def test_what_cannot_be_audited(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *arguments]) == 2
    assert words in capsys.readouterr().err
