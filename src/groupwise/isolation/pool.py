"""This module keeps processes that can be killed: where our own functions read what a model wrote, which may make them
hang, grow or execute it.

A :class:`WorkerPool` runs one of *our* functions on plain values, in other processes, each item under a hard limit
of wall-clock time. An item's process is forked for it, is killed after it with all it started, and has what a
program has in the :class:`~groupwise.isolation.sandbox.Sandbox`: no network, no file to read but the interpreter's and
the installed packages', nothing to write, no other process to signal or start, no privilege, no secret in its
environment, and limits. Where nothing on this machine gives that (:func:`groupwise.isolation.trials.walls`), a pool
does not start. ``unguarded=True`` is a pool of processes with limits and an empty environment and no more: what runs
there can read and write what its user may, and reach the network.

Code that runs *inside* an item's process can forge that item's own result; it cannot touch another's.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Literal, cast

from groupwise.errors import UserError
from groupwise.isolation import bubblewrap, places
from groupwise.isolation.parcel import START, pack
from groupwise.isolation.processes import process_creation
from groupwise.isolation.seccomp import call_filter
from groupwise.isolation.trials import walls
from groupwise.isolation.walls import Walls, environment

GRACE_SECONDS = 2.0
"""How much later than an item's own limit a worker that says nothing is killed, whatever it is doing."""
START_SECONDS = 120.0
MEMORY_BYTES = 2 << 30
MOST_WORKERS = 8
"""Of a pool that is told no size: a worker a core, but not more than these."""
REASON_CHARACTERS = 240


@dataclass(frozen=True)
class Outcome:
    """An outcome is what became of one item. ``value`` is plain JSON and None unless ``status`` is ``done``."""

    status: Literal["done", "timeout", "failed"]
    value: Any = None
    reason: str = ""
    """Why it failed, in a few words."""


class WorkerPool:
    """This pool runs ``function`` (``"module:name"``: plain value in, plain value out) in isolated processes.

    Workers start at the first call, are used again by later ones, and end with :meth:`close`, with the interpreter,
    or with the death of this process, however sudden. ``warm_up`` holds items, of ours and not of a model's, that
    each worker runs once unguarded, so that what the function loads lazily is loaded: nobody may be unable to read it.
    Threads may share a pool. Raises UserError at the first call where nothing here guards a process.
    """

    def __init__(
        self,
        function: str,
        warm_up: Sequence[Any] = (),
        size: int | None = None,
        memory_bytes: int = MEMORY_BYTES,
        *,
        unguarded: bool = False,
    ) -> None:
        self.unguarded = unguarded
        self._setup = {"function": function, "warm_up": json.dumps(list(warm_up)), "memory_bytes": memory_bytes}
        self._size = size or min(MOST_WORKERS, os.cpu_count() or 1)
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        atexit.register(self._close)  # without the lock: at the end nobody waits for a thread

    def run(self, items: Sequence[Any], seconds: float, on_done: Callable[[int], None] | None = None) -> list[Outcome]:
        """Returns one outcome an item, in order. An item that overstays ``seconds`` or dies costs the others nothing.

        ``on_done(count)`` hears how many are done. Raises UserError where a worker cannot start.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = list(enumerate(items))[::-1]
        with self._lock:
            try:
                while len(outcomes) < len(items):
                    self._open(min(self._size, len(items) - len(outcomes)))
                    for worker in self._workers:
                        if waiting and worker.index is None:
                            worker.send(*waiting.pop(), seconds)
                    self._collect(outcomes)
                    if on_done:
                        on_done(len(outcomes))
            except BaseException:  # an interrupted run leaves workers in the middle of an item
                self._close()
                raise
        return [outcomes[index] for index in range(len(items))]

    def close(self) -> None:
        """End the workers. The pool may be used again."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _open(self, size: int) -> None:
        """Bury the dead, then have ``size`` workers; they start side by side."""
        self._workers = [worker for worker in self._workers if worker.alive()]
        wanted = size - len(self._workers)
        within = None if self.unguarded or wanted <= 0 else walls()
        fresh = [_Worker(self._setup, within) for _ in range(wanted)]
        self._workers += fresh
        for worker in fresh:
            worker.hello()

    def _collect(self, outcomes: dict[int, Outcome]) -> None:
        """Wait for news of any item under way."""
        busy = [worker for worker in self._workers if worker.index is not None]
        _wait(busy)
        for worker in busy:
            index, reply = worker.index, worker.receive()
            if index is not None and reply is not None:
                outcomes[index] = _outcome(reply)


class _Worker:
    """One process of worker.py, doing at most one item at a time."""

    def __init__(self, setup: dict[str, Any], within: Walls | None) -> None:
        self.index: int | None = None
        self.deadline = time.monotonic() + START_SECONDS
        self._buffer = b""
        command, more = _command(setup["function"], within)
        parcel = pack(("limits", "confinement", "pages", "worker"), setup | more)
        try:
            with process_creation("a reward's verifier"):
                self._process = subprocess.Popen(
                    [*command, "-s", "-P", "-B", "-c", START, str(parcel)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    pass_fds=(parcel,),
                    start_new_session=True,
                )
        finally:
            os.close(parcel)
        self._requests, self.replies = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        os.set_blocking(self.replies.fileno(), False)
        os.set_blocking(self._requests.fileno(), False)

    def hello(self) -> None:
        """Wait until it is ready."""
        while (reply := self.receive()) is None:
            _wait([self])
        if "ready" not in reply:
            self._kill()
            raise UserError(f"a worker process for rewards could not start: {reply.get('broken', 'it died or hung')}")

    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, index: int, item: Any, seconds: float) -> None:
        self.index, self.deadline = index, time.monotonic() + seconds + GRACE_SECONDS
        self._write({"item": item, "seconds": seconds})

    def receive(self) -> dict[str, Any] | None:
        """Its reply, None where there is none yet. A worker that died or is overdue is killed and replies so."""
        try:
            chunk = os.read(self.replies.fileno(), 1 << 20)
        except BlockingIOError:
            return None if time.monotonic() < self.deadline else self._kill({"timeout": True})
        if not chunk:
            return self._kill({"failed": "its worker process died"})
        self._buffer += chunk
        if not chunk.endswith(b"\n"):
            return None
        line, self._buffer, self.index = self._buffer, b"", None
        try:
            return cast(dict[str, Any], json.loads(line))
        except (ValueError, RecursionError):  # an item may forge its own answer, nested as deep as it likes
            return {"failed": "its answer cannot be read"}

    def end(self) -> None:
        """Close its input, at which it stops what it does and leaves; kill it where it does not."""
        with suppress(OSError):
            self._requests.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self._kill()

    def _kill(self, reply: dict[str, Any] | None = None) -> dict[str, Any] | None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # what the kernel does not let go is left to it
            self._process.wait(GRACE_SECONDS)
        for pipe in (self._requests, self.replies):
            with suppress(OSError):
                pipe.close()
        return reply

    def _write(self, message: dict[str, Any]) -> None:
        """All of it, until the worker is overdue or dead: receive() will find out."""
        left, pipe = memoryview(json.dumps(message).encode() + b"\n"), self._requests.fileno()
        while left and (seconds := self.deadline - time.monotonic()) > 0:
            try:
                left = left[os.write(pipe, left) :]
            except BlockingIOError:
                select.select([], [pipe], [], seconds)
            except BrokenPipeError:
                return


def _wait(workers: Sequence[_Worker]) -> None:
    """Until one has something to say, or the first of their deadlines."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.replies, selectors.EVENT_READ)
        selector.select(max(0.0, min(worker.deadline for worker in workers) - time.monotonic()))


def _outcome(reply: dict[str, Any]) -> Outcome:
    if "value" in reply:
        return Outcome("done", reply["value"])
    if "timeout" in reply:
        return Outcome("timeout", reason="no answer in time")
    return Outcome("failed", reason=_shown(reply["failed"]))


def _shown(reason: Any) -> str:
    """An item may have written it: one line of letters, not too long."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(reason)[: 2 * REASON_CHARACTERS])
    return " ".join(text.split())[:REASON_CHARACTERS]


def _command(function: str, within: Walls | None) -> tuple[list[str], dict[str, Any]]:
    """An interpreter behind these walls, and what its items need to know of them."""
    path = [os.path.abspath(folder) for folder in sys.path if folder]
    more: dict[str, Any] = {"filters": [], "readable": [], "path": path, "scratch": ""}
    if within is None:
        return [sys.executable], more
    folders, readable = places.packages(function.partition(":")[0])
    more |= {"filters": _filters(), "path": folders}
    if within.is_bubblewrap:
        command = bubblewrap.worker_command(within.kind == "bubblewrap", readable)
        return [*command, "-S"], more | {"scratch": bubblewrap.SCRATCH}
    return [places.interpreter(), "-S"], more | {"readable": [*places.readable(), *readable]}


def _filters() -> list[bytes]:
    """A worker's, which forks items, and what they have besides."""
    return [call_filter(last=False, processes=False), call_filter(last=True, common=False)]


def _environment() -> dict[str, str]:
    """With one hash seed, what depends on the order of a set is the same in every run."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PYTHONHASHSEED": "0", **threads, **environment()}


@functools.cache
def shared_pool(function: str, warm_up: str = "[]", unguarded: bool = False) -> WorkerPool:
    """One pool for all who run ``function`` after the same ``warm_up`` (a list, as JSON)."""
    return WorkerPool(function, json.loads(warm_up), unguarded=unguarded)


def require_guards(name: str, unguarded: bool) -> None:
    """Raises UserError where nothing on this machine guards the processes of that reward and it was not told to do
    without."""
    if unguarded:
        return
    try:
        walls()
    except UserError as error:
        raise UserError(f"reward '{name}': {error}; unguarded=True does without guards") from error
