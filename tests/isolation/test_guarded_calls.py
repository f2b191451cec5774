"""Whatever a user's function does in its process: its own answer is lost, and nothing else."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.isolation import guarded_calls
from groupwise.isolation.process_tree import tasks_below
from groupwise.rewards import Cached, as_reward
from groupwise.rewards.scoring import prepare
from groupwise.types import Rollout, Score

Make = Callable[..., Rollout]
LINUX = sys.platform == "linux"
KEPT: list[Any] = []


def leak() -> None:
    KEPT.append(bytearray(40 << 20))


def die_with_a_child() -> None:
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
    os._exit(0)


def bomb() -> None:
    while True:
        os.fork()


DEEDS: dict[str, Callable[[], object]] = {
    "sleep": lambda: time.sleep(60),
    "exit": lambda: os._exit(0),
    "kill itself": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda: ctypes.string_at(0),
    "allocate": lambda: bytearray(1 << 30),
    "kill its parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "fork": os.fork,
    "leak": leak,
    "die later": lambda: threading.Timer(0.2, os._exit, (0,)).start(),
    "die with a child": die_with_a_child,
    "bomb": bomb,
}


def acts(completion: str) -> float:
    """The text's length in hundredths, where it comes to that."""
    DEEDS.get(completion, lambda: None)()
    return len(completion) / 100


def limited(seconds: float) -> Any:
    return as_reward(acts, time_limit_seconds=seconds, memory_bytes=200 << 20)


@pytest.fixture(scope="module")
def reward() -> Any:
    return limited(60.0)


def asked(texts: Sequence[str], rollout: Make) -> tuple[list[Score], float]:
    """Scores and the limit under which they were given: the shortest in which the machine, however busy, answers what
    does nothing."""
    for seconds in (1.2, 12.0, 50.0):
        reward = limited(seconds)
        reward.prepare()
        scores = reward.score([rollout(text) for text in texts])
        if not any(score.status == "timeout" and text not in DEEDS for text, score in zip(texts, scores, strict=True)):
            break
    return list(scores), seconds


@pytest.mark.parametrize(
    ("deed", "status", "reason"),
    [
        ("sleep", "timeout", r"no answer within {} s, it stood in .* at .*test_guarded_calls\.py:\d+"),
        ("exit", "failed", "its process ended"),
        ("kill itself", "failed", "its process ended"),
        ("crash", "failed", r"its process ended, it stood in .* at .*:\d+"),
        ("allocate", "failed", "MemoryError"),
        pytest.param("die with a child", "timeout", "", id="its child keeps the line open"),
    ],
)
def test_a_deed_costs_its_own_answer_in_time(deed: str, status: str, reason: str, rollout: Make) -> None:
    (before, done, after), seconds = asked(("a", deed, "bbb"), rollout)
    assert (before, after) == (Score(0.01), Score(0.03))
    assert done == Score(None, status)  # type: ignore[arg-type]
    assert re.search(reason.format(f"{seconds:g}"), done.reason)


def test_a_crash_says_where_it_stood_where_a_library_took_the_signal(rollout: Make) -> None:
    """pytest asks faulthandler for the same; what it set is gone, as after a Ray that was shut down."""
    libc, kept = ctypes.CDLL(None), ctypes.create_string_buffer(512)
    assert faulthandler.is_enabled()
    assert libc.sigaction(signal.SIGSEGV, None, kept) == 0
    libc.signal(signal.SIGSEGV, None)
    try:
        reward = limited(60.0)
        reward.prepare()
        [done] = reward.score([rollout("crash")])
    finally:
        assert libc.sigaction(signal.SIGSEGV, kept, None) == 0
    assert re.search(r"its process ended, it stood in .* at .*:\d+", done.reason)


@pytest.mark.skipif(not LINUX, reason="the machine's count of processes is Linux's")
def test_a_fork_bomb_is_ended_with_all_its_processes(rollout: Make) -> None:
    usual = _processes()
    (before, done, after), _ = asked(("a", "bomb", "bbb"), rollout)
    assert (before.value, done.value, after.value) == (0.01, None, 0.03)
    deadline = time.monotonic() + 300
    while _processes() > usual + 300 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _processes() <= usual + 300


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_processes_of_others_cost_nobody_an_answer(reward: Any, rollout: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty strangers come while a call runs that may have twenty processes of its own; where the machine is so busy
    that they come too late, a longer call is tried."""
    monkeypatch.setattr(guarded_calls, "MOST_PROCESSES", 20)
    strangers: list[subprocess.Popen[bytes]] = []
    slow = as_reward(waits, time_limit_seconds=60.0)
    slow.prepare()  # type: ignore[attr-defined]

    def arrive() -> None:
        strangers.extend(subprocess.Popen(["sleep", "120"]) for _ in range(30))

    try:
        for seconds in ("1", "8", "50"):
            timer = threading.Timer(0.3, arrive)
            timer.start()
            assert slow.score([rollout(seconds)]) == [Score(1.0)]
            came = len(strangers)
            timer.join()
            if came >= 30:
                return
        raise AssertionError("thirty processes took over 50 s to start")
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()


@pytest.mark.skipif(not LINUX, reason="reads /proc")
@pytest.mark.parametrize("kind", ["processes", "threads", "orphans"])
def test_its_own_are_counted_whatever_they_are(kind: str, rollout: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_calls, "MOST_PROCESSES", 20)
    [score] = as_reward(crowds, time_limit_seconds=60.0).score([rollout(kind)])
    assert (score.value, score.status) == (None, "failed")
    assert "it started more than 20 processes" in score.reason


def waits(completion: str) -> float:
    time.sleep(float(completion))
    return 1.0


def crowds(completion: str) -> float:
    for _ in range(60):
        if completion == "threads":
            threading.Thread(target=time.sleep, args=(120,), daemon=True).start()
        elif os.fork() == 0:
            if completion == "orphans" and os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(120)
            os._exit(0)
    time.sleep(120)
    return 0.0


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_a_tree_is_counted_with_its_threads() -> None:
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print(flush=True); time.sleep(60)"
    before = tasks_below(os.getpid())
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert tasks_below(child.pid) == 1
        assert tasks_below(os.getpid()) >= before + 2
        subprocess.run(["kill", str(_child_of(child.pid))], check=True)
        child.kill()
    assert tasks_below(child.pid) == 0


def _child_of(pid: int) -> int:
    stats = (path.read_text().rpartition(")") for path in Path("/proc").glob("[0-9]*/stat") if path.exists())
    return next(int(head.split()[0]) for head, _, rest in stats if int(rest.split()[1]) == pid)


def _processes() -> int:
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def test_a_fork_answers_once(reward: Any, rollout: Make) -> None:
    rows = [rollout("fork") for _ in range(6)]
    assert reward.score(rows) == [Score(0.04)] * 6
    assert reward.score([rollout("a")]) == [Score(0.01)]


def test_a_leak_costs_nothing_but_another_process(reward: Any, rollout: Make) -> None:
    """200 MiB hold four of forty; the fifth is asked again where there is room."""
    assert reward.score([rollout("leak") for _ in range(11)]) == [Score(0.04)] * 11


def test_a_process_that_dies_between_two_batches_costs_nobody_an_answer(reward: Any, rollout: Make) -> None:
    """By what it did before, or by another's hand; what kills it each time is named."""
    assert reward.score([rollout("die later")]) == [Score(0.09)]
    time.sleep(0.6)
    assert reward.score([rollout("a"), rollout("exit"), rollout("bb")])[::2] == [Score(0.01), Score(0.02)]
    time.sleep(0.1)
    assert reward.score([rollout("bb"), rollout("exit")])[1].status == "failed"


def test_what_kills_its_parent_does_not_kill_us(reward: Any, rollout: Make) -> None:
    scores = reward.score([rollout("a"), rollout("kill its parent"), rollout("bbb")])
    assert (scores[0].value, scores[2].value) == (0.01, 0.03)


def test_the_function_keeps_its_state_and_ours_is_not_touched(rollout: Make) -> None:
    seen: list[str] = []

    def counts(completion: str) -> float:
        seen.append(completion)
        return float(len(seen))

    isolated = as_reward(counts)
    assert [score.value for score in isolated.score([rollout(), rollout()])] == [1.0, 2.0]
    assert [score.value for score in isolated.score([rollout()])] == [3.0]
    assert seen == []
    assert as_reward(counts, isolated=False).score([rollout()])[0].value == 1.0
    assert len(seen) == 1


def test_random_numbers_depend_on_what_is_asked(rollout: Make) -> None:
    import random

    import numpy

    def lucky(completion: str) -> float:
        return random.random() + numpy.random.random()

    rows = [rollout("a"), rollout("b")]
    first, second = as_reward(lucky), as_reward(lucky)
    first.score([rollout("c")])
    values = [score.value for score in first.score(rows)]
    assert values == [score.value for score in second.score(rows)]
    assert values[0] != values[1]


def test_a_hanging_coroutine_costs_itself_and_one_that_blocks_its_batch(rollout: Make) -> None:
    async def judge(completion: str) -> float:
        import asyncio

        if completion == "hang":
            await asyncio.sleep(60)
        if completion == "block":
            time.sleep(60)
        return 1.0

    reward = as_reward(judge, time_limit_seconds=1.5)
    assert reward.score([rollout("a"), rollout("hang")]) == [Score(1.0), Score(None, "timeout")]
    assert reward.score([rollout("a"), rollout("block")]) == [Score(None, "timeout")] * 2
    assert reward.score([rollout("a")]) == [Score(1.0)]


def test_a_batch_that_hangs_fails_as_one_and_the_next_is_well(rollout: Make) -> None:
    def batch(completions: list[str]) -> list[float]:
        while completions[0] == "hang":
            pass
        return [1.0] * len(completions)

    reward = as_reward(batch, time_limit_seconds=1.5)
    assert reward.score([rollout("hang"), rollout("a")]) == [Score(None, "timeout")] * 2
    assert reward.score([rollout("a"), rollout("a")]) == [Score(1.0)] * 2


def test_what_cannot_be_sent_is_said(rollout: Make) -> None:
    reward = as_reward(lambda completion, lock: 1.0, name="r")
    with pytest.raises(UserError, match=r"columns cannot be sent to another process .*give plain values"):
        reward.score([rollout(lock=threading.Lock())])


def test_a_reward_is_ready_before_it_is_asked(rollout: Make, tmp_path: Path) -> None:
    """What it closes over is what stood when it was prepared."""
    shown = [1.0]
    reward = as_reward(lambda completion: shown[0])
    prepare([Cached(reward, tmp_path / "cache.db")])
    shown[0] = 2.0
    assert reward.score([rollout()])[0].value == 1.0


def test_others_that_are_closed_do_not_stand_in_the_way(rollout: Make) -> None:
    kept = [as_reward(lambda completion: 1.0) for _ in range(3)]
    for reward in kept:
        reward.score([rollout()])
        reward._guarded.close()  # type: ignore[attr-defined]
    assert [reward.score([rollout()])[0].value for reward in kept] == [1.0] * 3


def test_limits_are_positive() -> None:
    for options in ({"time_limit_seconds": 0.0}, {"memory_bytes": 0}):
        with pytest.raises(UserError, match="more than 0"):
            as_reward(acts, **options)  # type: ignore[arg-type]


ORPHANS = """
import sys, time
from groupwise.rewards import as_reward
from groupwise.types import Example, Prompt, Rollout

def sleeps(completion):
    open(sys.argv[1], "a").write("x")
    time.sleep(600)

reward = as_reward(sleeps)
print(flush=True)
reward.score([Rollout(Prompt(Example("row:1", "?"), (1,)), (0,), (True,), (0.0,), "text", True, 0)])
"""


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_the_death_of_the_caller_leaves_no_orphans(tmp_path: Path) -> None:
    script, mark = tmp_path / "orphans.py", tmp_path / "mark"
    script.write_text(ORPHANS)
    with subprocess.Popen([sys.executable, str(script), str(mark)], stdout=subprocess.PIPE) as process:
        while not mark.exists():
            assert process.poll() is None
            time.sleep(0.01)
        assert _running(str(script)) >= 3  # the caller, the fork server and the worker
        process.kill()
    deadline = time.monotonic() + 300.0
    while _running(str(script)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _running(str(script)) == 0


def _running(argument: str) -> int:
    count = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                count += argument.encode() in (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
    return count
