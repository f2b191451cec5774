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
import pickle
import selectors
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from groupwise.errors import UserError
from groupwise.isolation.fork_server import GRACE_SECONDS, ForkServer, Worker
from groupwise.isolation.fork_server_child import Respond, answer_batches
from groupwise.isolation.pool import MEMORY_BYTES, Outcome
from groupwise.isolation.process_tree import tasks_below, tasks_of_machine

MOST_PROCESSES = 1000
"""More than these, threads included, in the reward's own process tree end the call; other people's do not count."""
WATCH_SECONDS = 0.1
WITHOUT = "; isolated=False does without one"


class GuardedCalls:
    """This object runs ``respond`` (see :data:`Respond`) in a process that can be killed. Threads may share it."""

    def __init__(self, respond: Respond, memory_bytes: int = MEMORY_BYTES) -> None:
        self._respond, self._memory_bytes = respond, memory_bytes
        self._server: _Caller | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Forks now what the first call would fork. Raises UserError where that fails."""
        with self._lock:
            self._open()

    def run(self, calls: Sequence[Any], seconds: float, together: bool = False) -> Iterator[tuple[int, Outcome]]:
        """Each call's number and outcome as soon as it is known; ``value`` is the plain JSON of ``respond``.

        A call has ``seconds`` from the answer before it on. ``together``: they run side by side, each with so much
        time. What was running when the process had to be ended failed. A call that no memory was left for, or in which
        the process died, is asked once more in a new process where the old one had worked before. Raises UserError
        where a call cannot be sent.
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
        """Ends the process. The next call starts another."""
        with self._lock:
            if self._server:
                self._server.forks.end()

    def _open(self) -> _Caller:
        if self._server is None or not self._server.forks.alive():
            self._server = _Caller(self._respond, self._memory_bytes)
            weakref.finalize(self, self._server.forks.end)
        return self._server


class _Caller:
    """Asks the worker of one fork server."""

    def __init__(self, respond: Respond, memory_bytes: int) -> None:
        serve = partial(answer_batches, respond=respond)
        self.forks = ForkServer(serve, memory_bytes, "a reward, isolated as it is by default,", WITHOUT)

    def ask(self, waiting: dict[int, Any], seconds: float, together: bool) -> Iterator[tuple[int, Outcome]]:
        """Until every call is answered, or the worker had to be ended: then what ended it is answered too."""
        worker = self.forks.worker or self.forks.new_worker()
        calls, fresh = dict(waiting), worker.fresh
        worker.fresh = False
        trouble = _send(worker, [*calls.values()], seconds)
        numbers = list(calls)
        while calls and not trouble:
            answer, trouble = _receive(worker, seconds + together * GRACE_SECONDS, self.forks.pid)
            if answer is None:
                break
            number = numbers[answer[0]]
            if "memory" in answer[1]:
                self.forks.end_worker()
                if not fresh and not together:
                    return
            fresh = False
            calls.pop(number)
            yield number, answered(answer[1], seconds)
            if self.forks.worker is None:
                return
        if trouble == _DIED and not fresh and not together:
            self.forks.end_worker()  # it may have died of what it did before, or by another's hand: a new one tells
            return
        if trouble:
            place = self.forks.end_worker()
            outcome = Outcome("failed", reason=f"{trouble}{place}")
            if trouble == _SILENT:
                outcome = Outcome("timeout", reason=f"no answer within {seconds:g} s{place}")
            yield from [(number, outcome) for number in (list(calls) if together else list(calls)[:1])]

    def drop_worker(self) -> None:
        """In the middle of a batch that nobody waits for any more."""
        if self.forks.worker and self.forks.alive():
            self.forks.end_worker()


def _send(worker: Worker, calls: list[Any], seconds: float) -> str:
    """What went wrong, if anything did."""
    try:
        request = pickle.dumps((calls, seconds))
    except Exception as error:  # pickle raises whatever an object's own methods raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"a row's columns cannot be sent to another process ({what}); give plain values") from error
    try:
        worker.connection.settimeout(seconds + GRACE_SECONDS)
        worker.connection.sendall(len(request).to_bytes(8, "big") + request)
    except TimeoutError:
        return _SILENT
    except OSError:
        return _DIED
    return ""


def _receive(worker: Worker, seconds: float, server: int) -> tuple[tuple[int, dict[str, Any]] | None, str]:
    """The next answer, or what is wrong: it died, said nothing for so long, or starts processes without end.

    ``server``: the process below which all that it starts stands.
    """
    deadline, before = time.monotonic() + seconds, tasks_of_machine()
    with selectors.DefaultSelector() as selector:
        selector.register(worker.connection, selectors.EVENT_READ)
        while b"\n" not in worker.buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                return None, _SILENT
            if selector.select(min(left, WATCH_SECONDS)):
                chunk = worker.read()
                if not chunk:
                    return None, _DIED
                worker.buffer += chunk
            elif _too_many(server, before):
                return None, f"it started more than {MOST_PROCESSES} processes"
    line, _, worker.buffer = worker.buffer.partition(b"\n")
    try:
        number, answer = json.loads(line)
        return (number, answer), ""
    except (ValueError, TypeError, RecursionError):
        return None, "its answer cannot be read"


_SILENT, _DIED = "it said nothing", "its process ended"


def answered(answer: dict[str, Any], seconds: float) -> Outcome:
    """Says what a plain answer says became of its call."""
    if "timeout" in answer:
        return Outcome("timeout", reason=f"no answer within {seconds:g} s")
    reason = answer.get("failed", answer.get("memory"))
    return Outcome("done", answer) if reason is None else Outcome("failed", reason=reason)


def _too_many(server: int, before: int | None) -> bool:
    """Says whether the tree below ``server`` has outgrown its bound. It is counted only where the machine's own count,
    one short read, has grown as much since ``before``."""
    now = tasks_of_machine()
    grown = now is None or before is None or now - before > MOST_PROCESSES
    return grown and tasks_below(server) > MOST_PROCESSES
