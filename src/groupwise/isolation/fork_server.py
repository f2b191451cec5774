"""A user's own function in a process of its own: what it does there costs one answer, never the run.

It reaches that process by fork, with all that it closes over, so a lambda and a notebook's function go there as well
as a module's. The fork is made by :meth:`GuardedCalls.start`, or else by the first call; a run starts its rewards
before it opens a model, so that no weights and no threads stand in the way. One process answers call after call, in
order, and keeps what the function keeps; it is replaced when a call takes too long or too much memory, ends it, or
starts processes without end.

These guards are against accidents. The function is the user's: it may use files, the network and other programs. What
a model writes is not run here but by :class:`groupwise.rewards.Code`.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from groupwise.errors import UserError
from groupwise.isolation.fork_server_child import FORK, KILL, READY, Respond, serve_forks
from groupwise.isolation.pool import MEMORY_BYTES, START_SECONDS, Outcome
from groupwise.isolation.process_tree import tasks_below, tasks_of_machine
from groupwise.isolation.processes import process_creation

GRACE_SECONDS = 1.0
"""A call that watches its own limit says so by then."""
MOST_PROCESSES = 1000
"""More than these, threads included, in the reward's own process tree end the call; other people's do not count."""
WATCH_SECONDS = 0.1
_FRAME = re.compile(r'File "([^"\n]*)", line (\d+) in (.*)')
_ours: weakref.WeakSet[socket.socket] = weakref.WeakSet()


class GuardedCalls:
    """Runs ``respond`` (see :data:`Respond`) in a process that can be killed. Threads may share it."""

    def __init__(self, respond: Respond, memory_bytes: int = MEMORY_BYTES) -> None:
        self._respond, self._memory_bytes = respond, memory_bytes
        self._server: _ForkServer | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Forks now what the first call would fork. Raises UserError where that fails."""
        with self._lock:
            self._open()

    def run(self, calls: Sequence[Any], seconds: float, together: bool = False) -> Iterator[tuple[int, Outcome]]:
        """Each call's number and outcome as soon as it is known; ``value`` is the plain JSON of ``respond``.

        A call has ``seconds`` from the answer before it on. ``together``: they run side by side, each with so much
        time. What was running when the process had to be ended failed; a call that no memory was left for, in a
        process that had worked before, is asked once more in a new one. Raises UserError where a call cannot be sent.
        """
        waiting = dict(enumerate(calls))
        with self._lock:
            try:
                while waiting:
                    server = self._open()
                    for number, outcome in server.ask(waiting, seconds, together):
                        waiting.pop(number)
                        yield number, outcome
            finally:
                if waiting and self._server:
                    self._server.drop_worker()

    def close(self) -> None:
        """End the process. The next call starts another."""
        with self._lock:
            if self._server:
                self._server.end()

    def _open(self) -> _ForkServer:
        if self._server is None or not self._server.alive():
            self._server = _ForkServer(self._respond, self._memory_bytes)
            weakref.finalize(self, self._server.end)
        return self._server


class _ForkServer:
    """The caller's side of one fork server, and of the worker in it."""

    def __init__(self, respond: Respond, memory_bytes: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # whatever stands there; what waits in it would be written twice
                stream.flush()
        self._control, theirs = socket.socketpair()
        self._worker: _Worker | None = None
        self._owner = os.getpid()
        strangers = [number for each in (*_ours, self._control) if (number := each.fileno()) >= 0]  # closed: -1
        with process_creation("a reward, isolated as it is by default,"):
            self._pid = os.fork()
        if not self._pid:
            serve_forks(theirs, respond, memory_bytes, strangers)
        theirs.close()
        _ours.add(self._control)
        self._control.settimeout(START_SECONDS)
        if self._reply() != READY:
            self.end()
            raise UserError(
                f"a process for a reward did not start in {START_SECONDS:g} s, or died; isolated=False does without one"
            )

    def alive(self) -> bool:
        return self._owner == os.getpid() and self._control.fileno() >= 0

    def ask(self, waiting: dict[int, Any], seconds: float, together: bool) -> Iterator[tuple[int, Outcome]]:
        """Until every call is answered, or the worker had to be ended: then what ended it is answered too."""
        worker = self._worker = self._worker or self._new_worker()
        calls, fresh = dict(waiting), worker.fresh
        worker.fresh = False
        trouble = worker.send([*calls.values()], seconds, self)
        numbers = list(calls)
        while calls and not trouble:
            answer, trouble = worker.receive(seconds + together * GRACE_SECONDS, self._pid)
            if answer is None:
                break
            number = numbers[answer[0]]
            if "memory" in answer[1]:
                self._end_worker()
                if not fresh and not together:
                    return
            fresh = False
            calls.pop(number)
            yield number, answered(answer[1], seconds)
            if self._worker is None:
                return
        if trouble:
            place = self._end_worker()
            outcome = Outcome("failed", reason=f"{trouble}{place}")
            if trouble == _SILENT:
                outcome = Outcome("timeout", reason=f"no answer within {seconds:g} s{place}")
            yield from [(number, outcome) for number in (list(calls) if together else list(calls)[:1])]

    def drop_worker(self) -> None:
        """In the middle of a batch that nobody waits for any more."""
        if self._worker and self.alive():
            self._end_worker()

    def end(self) -> None:
        """The fork server and all in it."""
        if self._owner != os.getpid() or self._control.fileno() < 0:
            return
        self._control.close()
        if self._worker:
            self._worker.close()
        deadline = time.monotonic() + GRACE_SECONDS
        with suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(self._pid, signal.SIGKILL)
                time.sleep(0.001)

    def _new_worker(self) -> _Worker:
        worker = _Worker()
        with suppress(OSError):
            socket.send_fds(self._control, [FORK], [worker.theirs.fileno(), worker.notes.fileno()])
        worker.theirs.close()
        self._reply()
        return worker

    def _end_worker(self) -> str:
        """Where it stood, in words. A fork server that does not answer is ended with it."""
        worker, self._worker = self._worker, None
        assert worker is not None
        with suppress(OSError):
            self._control.sendall(KILL)
        if self._reply() != KILL:
            self.end()
        place = worker.place()
        worker.close()
        return place

    def _reply(self) -> bytes:
        try:
            return self._control.recv(1)
        except OSError:
            return b""


class _Worker:
    """The caller's end of a worker's connection."""

    def __init__(self) -> None:
        self.connection, self.theirs = socket.socketpair()
        self.notes = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self.fresh = True
        self._buffer = b""
        _ours.add(self.connection)

    def send(self, calls: list[Any], seconds: float, server: _ForkServer) -> str:
        """What went wrong, if anything did."""
        try:
            request = pickle.dumps((calls, seconds))
        except Exception as error:  # pickle raises whatever an object's own methods raise
            what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"a row's columns cannot be sent to another process ({what}); give plain values") from error
        try:
            self.connection.settimeout(seconds + GRACE_SECONDS)
            self.connection.sendall(len(request).to_bytes(8, "big") + request)
        except TimeoutError:
            return _SILENT
        except OSError:
            return _DIED
        return ""

    def receive(self, seconds: float, server: int) -> tuple[tuple[int, dict[str, Any]] | None, str]:
        """The next answer, or what is wrong: it died, said nothing for so long, or starts processes without end.

        ``server``: the process below which all that it starts stands.
        """
        deadline, before = time.monotonic() + seconds, tasks_of_machine()
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None, _SILENT
                if selector.select(min(left, WATCH_SECONDS)):
                    chunk = self._read()
                    if not chunk:
                        return None, _DIED
                    self._buffer += chunk
                elif _too_many(server, before):
                    return None, f"it started more than {MOST_PROCESSES} processes"
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            number, answer = json.loads(line)
            return (number, answer), ""
        except (ValueError, TypeError, RecursionError):
            return None, "its answer cannot be read"

    def place(self) -> str:
        """What the worker wrote down of where it stood: the innermost frame."""
        self.notes.seek(0)
        frame = _FRAME.search(self.notes.read(1 << 16).decode("utf-8", "replace"))
        return f", it stood in {frame[3]} at {frame[1]}:{frame[2]}" if frame else ""

    def close(self) -> None:
        self.connection.close()
        self.notes.close()

    def _read(self) -> bytes:
        try:
            return self.connection.recv(1 << 16)
        except OSError:
            return b""


_SILENT, _DIED = "it said nothing", "its process ended"


def answered(answer: dict[str, Any], seconds: float) -> Outcome:
    """Says what a plain answer says became of its call."""
    if "timeout" in answer:
        return Outcome("timeout", reason=f"no answer within {seconds:g} s")
    reason = answer.get("failed", answer.get("memory"))
    return Outcome("done", answer) if reason is None else Outcome("failed", reason=reason)


def _too_many(server: int, before: int | None) -> bool:
    """Whether the tree below ``server`` has outgrown its bound. It is counted only where the machine's own count, one
    short read, has grown as much since ``before``."""
    now = tasks_of_machine()
    grown = now is None or before is None or now - before > MOST_PROCESSES
    return grown and tasks_below(server) > MOST_PROCESSES
