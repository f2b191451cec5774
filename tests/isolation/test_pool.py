from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.isolation.pool import Outcome, WorkerPool
from groupwise.isolation.trials import walls

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
MARK = Path("/tmp/groupwise-test-mark")
LINUX = sys.platform == "linux"


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    sys.path.insert(0, str(HERE / "isolated"))
    made = WorkerPool("hostile:act", size=2, memory_bytes=1 << 30)
    yield made
    made.close()
    sys.path.remove(str(HERE / "isolated"))


def run(pool: WorkerPool, *items: object, seconds: float = 5.0) -> list[Outcome]:
    return pool.run(items, seconds)


def test_values_come_back_in_order_whoever_computed_them(pool: WorkerPool) -> None:
    items = [1, "two", None, [3, {"four": 5.0}], "\ud800\x00", "x" * 3_000_000, *range(30)]
    heard: list[int] = []
    outcomes = pool.run(items, 5.0, on_done=heard.append)
    assert [outcome.value for outcome in outcomes] == items
    assert heard[-1] == len(items)
    assert run(pool) == []


def test_an_item_that_hangs_is_killed_in_time_and_costs_the_others_nothing(pool: WorkerPool) -> None:
    run(pool, "warm")
    started = time.monotonic()
    outcomes = run(pool, 1, "spin", 2, "sleep", 3, seconds=1.0)
    assert time.monotonic() - started < 50.0  # it would have slept for a minute, and spun for ever
    assert [outcome.status for outcome in outcomes] == ["done", "timeout", "done", "timeout", "done"]
    assert [outcomes[row].value for row in (0, 2, 4)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("exit", "ended without an answer"),
        ("sys.exit", "ended without an answer"),
        ("raise", "ZeroDivisionError: division by zero"),
        ("recurse", "RecursionError"),
        ("allocate", "MemoryError"),
        ("no json", "TypeError: .*set.*not JSON"),
        ("forge nonsense", "no proper answer"),
        ("forge depth", "answer"),
    ],
)
def test_an_item_that_dies_says_why_and_the_next_is_well(deed: str, reason: str, pool: WorkerPool) -> None:
    died, well = run(pool, deed, "well")
    assert died.status == "failed"
    assert died.value is None
    assert re.search(reason, died.reason)
    assert well == Outcome("done", "well")


def test_what_one_item_prints_or_patches_does_not_reach_another(pool: WorkerPool) -> None:
    outcomes = run(pool, *["flood", "patch"] * 3, *["is patched"] * 4)
    assert [outcome.value for outcome in outcomes] == ["flooded", "patched"] * 3 + [[1, False]] * 4
    assert "PATCHED" not in os.environ


def test_every_item_has_a_process_of_its_own_and_it_is_not_this_one(pool: WorkerPool) -> None:
    single = WorkerPool("hostile:act", size=1)
    numbers = [outcome.value for outcome in run(single, "process", "process", "process")]
    single.close()
    assert len(set(numbers)) == 3
    assert os.getpid() not in numbers


@pytest.mark.skipif(not LINUX, reason="these guards are Linux's")
def test_an_item_has_no_secret_no_input_no_file_and_no_privilege(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    fresh = WorkerPool("hostile:act", size=1)
    (outcome,) = run(fresh, "describe")
    seen = outcome.value
    fresh.close()
    threads = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
    known = threads | {"PATH", "LANG", "PYTHONHASHSEED", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "PWD", "LC_CTYPE"}
    assert {*seen["environment"]} <= known
    assert seen["home"] in ("/scratch", None)
    assert (seen["folder"], seen["input"]) == ([], "")
    assert seen["files"] == [0, 1, 2, 3]
    assert seen["user"] == 65534 or not walls().is_bubblewrap
    assert "proc" not in seen["root"]


@pytest.mark.skipif(not LINUX, reason="these guards are Linux's")
def test_an_item_can_start_no_process_and_write_no_file(pool: WorkerPool) -> None:
    MARK.unlink(missing_ok=True)
    shell, fork, write = run(pool, "shell", "fork", "write")
    assert shell.value not in (0, None)
    assert (fork.status, write.status) == ("failed", "failed")
    assert "PermissionError" in fork.reason
    assert not MARK.exists()


@pytest.mark.skipif(not LINUX, reason="these guards are Linux's")
def test_an_item_reaches_no_network_(pool: WorkerPool) -> None:
    run(pool, "warm")
    (outcome,) = run(pool, "connect")
    assert "PermissionError" in outcome.reason


def test_a_worker_killed_from_outside_or_inside_is_replaced(pool: WorkerPool) -> None:
    outcomes = run(pool, 1, "kill the worker", 2, "kill all", 3)
    assert [outcomes[row].value for row in (0, 2, 4)] == [1, 2, 3]
    assert {outcomes[row].status for row in (1, 3)} <= {"failed", "timeout"}
    for worker in pool._workers:
        os.killpg(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
    assert [outcome.value for outcome in run(pool, 4, 5, 6)] == [4, 5, 6]


def test_a_stopped_worker_is_killed_after_its_grace_and_replaced(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groupwise.isolation.pool.GRACE_SECONDS", 0.2)
    single = WorkerPool("hostile:act", size=1)
    run(single, "warm")
    os.killpg(single._workers[0]._process.pid, signal.SIGSTOP)
    assert [outcome.status for outcome in run(single, "stuck", "next", seconds=1.0)] == ["timeout", "done"]
    single.close()


def test_threads_may_share_a_pool(pool: WorkerPool) -> None:
    results: dict[int, list[object]] = {}

    def work(number: int) -> None:
        results[number] = [outcome.value for outcome in run(pool, *[number] * 5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [number] * 5 for number in range(4)}


def test_workers_are_used_again_and_a_closed_pool_opens_again(pool: WorkerPool) -> None:
    run(pool, 1, 2)
    before = [worker._process.pid for worker in pool._workers]
    run(pool, 1, 2)
    assert [worker._process.pid for worker in pool._workers] == before
    pool.close()
    assert run(pool, 3)[0].value == 3
    assert not any(_alive(pid) for pid in before)


@pytest.mark.parametrize(
    ("function", "warm_up", "why"),
    [
        ("no_such_module:f", [], "ModuleNotFoundError"),
        ("hostile:nothing", [], "AttributeError"),
        ("hostile:act", ["raise"], "ZeroDivisionError"),
    ],
)
def test_a_worker_that_cannot_start_says_why(function: str, warm_up: list[str], why: str, pool: WorkerPool) -> None:
    with pytest.raises(UserError, match=f"could not start: {why}"):
        WorkerPool(function, warm_up).run([1], 1.0)


def test_the_death_of_the_parent_leaves_no_orphans(tmp_path: Path) -> None:
    program = (
        "import sys, threading, time; sys.path[:0] = sys.argv[1:]\n"
        "from groupwise.isolation.pool import WorkerPool\n"
        "pool = WorkerPool('hostile:act', size=2)\n"
        "pool.run([1, 2], 5)\n"
        "print(*[worker._process.pid for worker in pool._workers], flush=True)\n"
        "pool.run(['sleep', 'spin'], 600)\n"
    )
    arguments = [sys.executable, "-c", program, str(SOURCE), str(HERE / "isolated")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        time.sleep(0.3)
        groups = [pid for pid in workers if _alive(pid)]
        assert groups == workers
        parent.kill()
    deadline = time.monotonic() + 300.0
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in workers)


def _alive(pid: int) -> bool:
    """Whether any process of the group that it leads still runs."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True
