"""A cached reward is asked once for each content, and never says something else than it would."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.rewards import Cached, FinalAnswer, as_reward, score_rollouts
from groupwise.types import Rollout, Score

Make = Callable[..., Rollout]


@dataclass(frozen=True)
class Slow:
    """Counts what it is asked: the length of the text, with a step at every token."""

    asked: list[str] = field(default_factory=list)
    scale: float = 1.0
    name: str = "slow"
    weight: float = 1.0

    def identity(self) -> dict[str, float]:
        return {"scale": self.scale}

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        self.asked.extend(rollout.text for rollout in rollouts)
        return [self._score(rollout) for rollout in rollouts]

    def _score(self, rollout: Rollout) -> Score:
        if rollout.text in ("timeout", "failed", "unparseable"):
            return Score(None, rollout.text)  # type: ignore[arg-type]
        return Score(self.scale * len(rollout.text), steps={0: 0.25, 1: 0.5})


def test_what_is_known_is_not_asked_again(rollout: Make, tmp_path: Path) -> None:
    slow = Slow()
    cached = Cached(slow, tmp_path / "deep" / "cache.db")
    rows = [rollout("a"), rollout("bb"), rollout("a")]
    first = cached.score(rows)
    assert slow.asked == ["a", "bb"]
    assert [score.cached for score in first] == [False, False, True]
    again = Cached(slow, tmp_path / "deep" / "cache.db").score([*rows, rollout("ccc")])
    assert slow.asked == ["a", "bb", "ccc"]
    assert again[:3] == first == slow.score(rows)
    assert again[0].steps == {0: 0.25, 1: 0.5}


def test_hits_are_a_metric_of_their_own(rollout: Make, tmp_path: Path) -> None:
    cached = Cached(Slow(), tmp_path / "cache.db")
    scored, metrics = score_rollouts([rollout("a"), rollout("bb")], [cached, FinalAnswer()])
    assert metrics["rewards/slow/cached"] == 0.0
    assert "rewards/answer/cached" not in metrics
    again, metrics = score_rollouts([rollout("a"), rollout("bb"), rollout("c"), rollout("d")], [cached])
    assert metrics["rewards/slow/cached"] == 0.5
    assert again[0].rewards == {0: 0.25, 1: 0.5}
    assert scored[0].scores["slow"] == again[0].scores["slow"]


@pytest.mark.parametrize(
    "change",
    [
        {"answer": "5"},
        {"prompt": "3+3="},
        {"difficulty": "hard"},
        {"tokens": 3},
        {"text": "other"},
    ],
)
def test_whatever_a_reward_may_read_makes_another_content(
    change: dict[str, object], rollout: Make, tmp_path: Path
) -> None:
    slow = Slow()
    cached = Cached(slow, tmp_path / "cache.db")
    cached.score([rollout("text")])
    cached.score([rollout(**{"text": "text", **change})])
    assert len(slow.asked) == 2


def test_steps_and_truncation_make_another_content_too(rollout: Make, tmp_path: Path) -> None:
    slow = Slow()
    cached = Cached(slow, tmp_path / "cache.db")
    cached.score([rollout("a"), replace(rollout("a"), finished=False), replace(rollout("a"), steps=(1,))])
    assert len(slow.asked) == 3


def test_another_reward_has_another_content_and_another_weight_has_not(rollout: Make, tmp_path: Path) -> None:
    path, slow = tmp_path / "cache.db", Slow()
    Cached(slow, path).score([rollout("a")])
    assert Cached(replace(slow, scale=3.0), path).score([rollout("a")]) == [Score(3.0, steps={0: 0.25, 1: 0.5})]
    (known,) = Cached(replace(slow, weight=9.0, name="other"), path).score([rollout("a")])
    assert known.cached
    assert (Cached(replace(slow, weight=9.0), path).weight, Cached(slow, path).name) == (9.0, "slow")


def test_a_function_is_known_by_its_source(rollout: Make, tmp_path: Path) -> None:
    def one(completion: str) -> float:
        return 1.0

    def two(completion: str) -> float:
        return 2.0

    two.__qualname__ = one.__qualname__
    path = tmp_path / "cache.db"
    found = [Cached(as_reward(function, "f"), path).score([rollout("a")])[0] for function in (one, two, one)]
    assert [(score.value, score.cached) for score in found] == [(1.0, False), (2.0, False), (1.0, True)]


@pytest.mark.parametrize("status", ["timeout", "failed", "unparseable"])
def test_what_was_not_scored_is_asked_again(status: str, rollout: Make, tmp_path: Path) -> None:
    slow = Slow()
    cached = Cached(slow, tmp_path / "cache.db")
    cached.score([rollout(status)])
    (again,) = cached.score([rollout(status)])
    assert slow.asked == [status, status]
    assert (again.status, again.cached) == (status, False)


def test_a_lone_surrogate_and_a_nul_are_contents_like_others(rollout: Make, tmp_path: Path) -> None:
    slow, rows = Slow(), [rollout("a\ud800"), rollout("a\x00"), rollout("a")]
    cached = Cached(slow, tmp_path / "cache.db")
    assert cached.score(rows) == cached.score(rows)
    assert len(slow.asked) == 3


def test_a_reward_that_nothing_describes_is_refused(rollout: Make, tmp_path: Path) -> None:
    class Opaque:
        name, weight = "opaque", 1.0

        def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
            return [Score(1.0) for _ in rollouts]

    with pytest.raises(UserError, match=r"'opaque' cannot be cached: .* make Opaque a dataclass"):
        Cached(Opaque(), tmp_path / "cache.db").score([rollout()])


def test_a_file_that_is_no_cache_is_refused_and_left_alone(rollout: Make, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at\n" * 40)
    with pytest.raises(UserError, match=r"its cache .*notes\.txt cannot be used"):
        Cached(Slow(), path).score([rollout()])
    assert path.read_text().startswith("not a database")
    with pytest.raises(UserError, match="cannot be used"):
        Cached(Slow(), tmp_path).score([rollout()])


def test_a_write_that_was_cut_short_costs_only_itself(rollout: Make, tmp_path: Path) -> None:
    path, slow = tmp_path / "cache.db", Slow()
    Cached(slow, path).score([rollout("a")])
    dead = sqlite3.connect(path)
    dead.execute("INSERT INTO scores VALUES ('torn', '[1.0')")  # a process that dies before its commit
    dead.close()
    assert Cached(slow, path).score([rollout("a")])[0].cached
    assert slow.asked == ["a"]


def _fill(path: Path, rows: Sequence[Rollout]) -> None:
    for row in rows:
        Cached(Slow(), path).score([row])


def test_processes_share_a_file(rollout: Make, tmp_path: Path) -> None:
    path, rows = tmp_path / "cache.db", [rollout("x" * size) for size in range(1, 16)]
    processes = [multiprocessing.get_context("fork").Process(target=_fill, args=(path, rows)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    scores = Cached(Slow(), path).score(rows)
    assert all(score.cached for score in scores)
    assert [score.value for score in scores] == [float(size) for size in range(1, 16)]


SLOW_SCRIPT = """
import sys, time
from contextlib import suppress
from pathlib import Path
from groupwise.rewards import Cached, as_reward
from groupwise.types import Example, Prompt, Rollout

def slow(completion):
    with Path(sys.argv[2]).open("a") as asked:
        asked.write("x")
    time.sleep(float(sys.argv[3]))
    return float(len(completion))

prompt = Prompt(Example("row:1", "?"), (1,))
rows = [Rollout(prompt, (0,), (True,), (0.0,), "x" * n, True, 0) for n in range(60)]
scores = Cached(as_reward(slow), sys.argv[1]).score(rows)
assert [score.value for score in scores] == [float(n) for n in range(60)]
print(sum(score.cached for score in scores))
"""


def _running(argument: str) -> bool:
    """Whether any process was started with it."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if argument.encode() in place.read_bytes().split(b"\0"):
                return True
    return False


def test_a_killed_process_keeps_what_was_said_in_the_middle_of_a_call(tmp_path: Path) -> None:
    script, path, asked = tmp_path / "slow.py", tmp_path / "cache.db", tmp_path / "asked"
    script.write_text(SLOW_SCRIPT)

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(path), str(asked), str(seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with start(0.25) as process:
        while not asked.exists() or asked.stat().st_size < 5:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    until = time.monotonic() + 600
    while _running(str(script)) and time.monotonic() < until:  # the reward's own process ends with it
        time.sleep(0.01)
    begun = asked.stat().st_size
    assert 5 <= begun < 60
    with start(0.0) as process:
        known = int(process.communicate(timeout=1200)[0])
    assert begun - 2 <= known <= begun  # but for the one that was being asked, and one not yet written
    assert asked.stat().st_size == begun + 60 - known


def test_a_reward_that_fails_on_one_keeps_what_it_said_of_the_others(rollout: Make, tmp_path: Path) -> None:
    asked: list[str] = []

    def mine(completion: str) -> float:
        asked.append(completion)
        return {"a": 1.0, "b": 2.0}[completion]

    path, reward = tmp_path / "cache.db", as_reward(mine, isolated=False)
    for known in (False, True):
        scores = Cached(reward, path).score([rollout("b"), rollout("c"), rollout("a")])
        assert [score.value for score in scores] == [2.0, None, 1.0]
        assert [score.status for score in scores] == ["scored", "failed", "scored"]
        assert [score.cached for score in scores] == [known, False, known]
    assert asked == ["b", "c", "a", "c"]


def test_a_full_disk_is_no_fault_of_the_file(rollout: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = Cached(Slow(), tmp_path / "cache.db")
    cached.score([rollout("a")])

    def full(path: Path, timeout: float) -> sqlite3.Connection:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", full)
        with pytest.raises(UserError, match="what it holds is whole; make room and run"):
            cached.score([rollout("b")])
    assert cached.score([rollout("a"), rollout("b")]) == Slow().score([rollout("a"), rollout("b")])
