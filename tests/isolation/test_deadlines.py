"""A wait that takes too long says who waits for whom, for how long and where, and ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

import groupwise
from groupwise.errors import UserError
from groupwise.isolation.deadlines import Helper, result, stacks


def hang_here(until: threading.Event) -> None:
    until.wait(60)


def wait_until_it_hangs(name: str) -> None:
    until = time.monotonic() + 600
    while not all(f"{function} (" in stacks(name) for function in ("hang_here", "in wait")):
        assert time.monotonic() < until, stacks(name)
        time.sleep(0.001)


def test_a_deadline_that_passes_is_told_with_the_stacks_and_then_ends() -> None:
    notes: list[str] = []
    over = threading.Event()
    helper = Helper("scorer")
    future = helper.submit(partial(hang_here, over))
    wait_until_it_hangs("scorer")
    with pytest.raises(UserError, match=r"^grpo has waited 0\.2 s for the rewards and gives up; .*hang_here"):
        result(future, "grpo", "the rewards", notes.append, seconds=0.1, times=2)
    over.set()
    assert [note.partition(":")[0] for note in notes] == [
        "grpo has waited 0.1 s for the rewards",
        "grpo has waited 0.2 s for the rewards",
    ]
    assert "scorer stands in wait (" in notes[0]
    assert f"hang_here ({__file__}:" in notes[0]
    assert "\n" not in notes[0]


def test_what_comes_in_time_or_raises_comes_as_it_is() -> None:
    def late() -> None:
        raise TimeoutError("its own")

    helper = Helper("scorer")
    assert result(helper.submit(lambda: 3), "a", "b", print) == 3
    with pytest.raises(TimeoutError, match="its own"):
        result(helper.submit(late), "a", "b", print, seconds=5.0)
    over = threading.Event()
    running, waiting = helper.submit(partial(hang_here, over)), helper.submit(lambda: 4)
    while not running.running():
        time.sleep(0.001)
    helper.close()
    over.set()
    with pytest.raises(BaseException, match=r"^$"):
        waiting.result(timeout=1200)
    assert waiting.cancelled()
    assert isinstance(running, Future)


def test_stacks_are_of_the_threads_that_are_asked_for() -> None:
    over = threading.Event()
    thread = threading.Thread(target=hang_here, args=(over,), name="judge reward")
    thread.start()
    wait_until_it_hangs("judge")
    assert stacks("nobody") == "no other thread runs"
    over.set()
    thread.join(600)


HANGS = """
import sys
from groupwise.isolation.deadlines import Helper, result
from groupwise.errors import UserError
import time
try:
    result(Helper("h").submit(lambda: time.sleep(600)), "a", "b", print, seconds=0.1, times=1)
except UserError as error:
    print("gave up")
"""


def test_a_thread_that_hangs_keeps_no_process_alive() -> None:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=1200, check=True)
    assert done.stdout.splitlines()[-1] == "gave up"
    assert time.monotonic() - started < 500


WAITS = (".join()", ".wait()", ".result()", ".communicate()", ".acquire()", "select.select([", ".get()")
ENDS_OTHERWISE = {
    "calls.py": "a coroutine of the user's, not isolated: nothing limits it, as it says",
    "rollouts.py": "of a future that is done",
    "background.py": "of a future that is done",
    "dispatcher.py": "of a thread that draws until it is closed, and of that thread for what it is to draw",
    "mcp.py": "of a thread that ends with its process",
    "deadlines.py": "the helper's own: ends with close()",
    "worker.py": "until its caller hangs up, and with a deadline",
    "run.py": "options of a recipe",
    "expressions.py": "of a context's variable",
    "stop_request.py": "of a context's variable",
    "thread_trial.py": "of a context's variable",
    "template_operations.py": "of a context's variable",
    "tile_threads.py": "its threads compute, and wait for nobody",
}


def test_no_wait_in_the_library_is_without_a_deadline() -> None:
    package = Path(groupwise.__file__).parent
    found = {
        f"{path.name}:{number} {line.strip()}"
        for path in package.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(wait in line for wait in WAITS) and "seconds)" not in line and '"""' not in line
    }
    assert not {each for each in found if each.partition(":")[0] not in ENDS_OTHERWISE}


def test_without_a_thread_the_work_is_done_where_it_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    helper = Helper("ledger")
    assert helper.submit(threading.get_ident).result(timeout=0) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        helper.submit(lambda: 1 / 0).result(timeout=0)
    helper.close()
    assert helper.submit(lambda: 1).cancelled()
    with pytest.raises(UserError, match=r"sink wandb: the system gives no further thread; raise the limit"):
        Helper("sink wandb", apart=True)
