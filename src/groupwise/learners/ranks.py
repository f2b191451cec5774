"""This module starts the processes that one learner is spread over, or finds those that torchrun started, and has them
do what the first one does."""

from __future__ import annotations

import atexit
import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

from groupwise.errors import UserError
from groupwise.learners.blame import RankLost, first_cause, first_words, of_transport, told
from groupwise.learners.fingerprint import code_fingerprint, different
from groupwise.learners.launch import PARENT, started_by_torchrun
from groupwise.learners.meeting import Door
from groupwise.learners.process_group import GRACE, is_here, join, of_this_attempt, store_of_all, tell, tell_over
from groupwise.learners.sending import SHORT_BYTES, Sending, packed
from groupwise.learning.stop_request import stop_request, stop_signal

FOLLOWER = "groupwise.learners.follower"
SECONDS_TO_END = 5.0
STOP_SECONDS = 15.0
"""How long another process may let rank 0 wait that was asked to stop: whoever asks kills after 30."""
POLL_SECONDS = 0.5


class Ranks:
    """These are the processes of a run as the first of them, rank 0, sees them. One group of them at a time serves all
    learners."""

    begun = False
    """Whether there were any in this process."""

    def __init__(self, count: int, timeout_seconds: float) -> None:
        Ranks.begun = True
        self.count, self.timeout, self.users = count, timeout_seconds, 0
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._links: dict[int, Connection] = {}
        self._busy, self._closed, self.lost = threading.Lock(), False, ""
        self._given = started_by_torchrun()
        own = None if self._given else dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._store = of_this_attempt(own) if own else store_of_all()
        key = bytes.fromhex(secrets.token_hex(32))
        host = os.environ["MASTER_ADDR"] if self._given else "127.0.0.1"
        atexit.register(self.close)
        try:
            with Door("" if self._given else host, key, count) as door:
                tell(self._store, f"{host}:{door.port}", key, timeout_seconds)
                if own:
                    self._start(own.port)
                self._meet(door, key)
            join(self._store, 0, count, timeout_seconds, key)
        except BaseException as error:
            found = self._explained(error) if of_transport(error) else error
            self.close()
            raise found from None

    def _start(self, port: int) -> None:
        threads = str(max(1, torch.get_num_threads() // self.count))
        shared = {"WORLD_SIZE": str(self.count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        shared |= {"OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        shared |= {PARENT: str(os.getpid())}
        for rank in range(1, self.count):
            self.processes[rank] = subprocess.Popen(
                [sys.executable, "-m", FOLLOWER],
                env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints is no result of the run
                start_new_session=True,  # a terminal's Ctrl-C is rank 0's to answer
            )

    def _meet(self, door: Door, key: bytes) -> None:
        """Waits for the others. Raises UserError for one that computes with other code, RankLost for one that does not
        come."""
        ours, until = code_fingerprint(), time.monotonic() + self.timeout
        while len(self._links) < self.count - 1:
            self._refuse_absent(key, until)
            met = door.next(POLL_SECONDS)
            if met is None:
                continue
            link, (rank, theirs) = met
            self._links[rank] = link
            if other := different(ours, theirs):
                pairs = ", ".join(f"{name} {theirs.get(name)} (rank 0: {ours.get(name)})" for name in other)
                raise UserError(f"rank {rank} of {self.count} has other code: {pairs}; expected the same everywhere")

    def _refuse_absent(self, key: bytes, until: float) -> None:
        for rank in (rank for rank in range(1, self.count) if rank not in self._links):
            if rank in self.processes and self.processes[rank].poll() is not None:
                raise self._gone(f"rank {rank} {self._state(rank)} before it began")
            if time.monotonic() > until:
                half = ": it was here, and did not go on" if is_here(self._store, rank, key) else ""
                raise self._gone(f"rank {rank} of {self.count} did not come within {self.timeout:g} s{half}")

    @property
    def is_over(self) -> bool:
        """Says whether nothing can be asked any more."""
        return bool(self.lost) or self._closed

    def call(self, work: Callable[[], Any], *message: Any) -> list[Any]:
        """Has every other process do what ``message`` says while this one does ``work``: what they returned, by rank.

        Raises what ``work`` raised, where the others say nothing else; RankLost where one of them failed.
        """
        with self._busy:
            data = self._packed(message)
            try:
                self._send(data)
                own = work()
            except BaseException as error:
                raise self._explained(error) from error
            return [own, *self._answers()]

    def stream(self, items: Callable[[], Iterator[Any]], *message: Any) -> Iterator[Any]:
        """Yields ``items`` while every other process does what ``message`` says in the same rounds. Where the reader
        stops, the rest is done all the same."""
        with self._busy:
            data = self._packed(message)
            try:
                self._send(data)
                found = items()
                for item in found:  # noqa: UP028 - to close this must not close it
                    yield item
            except GeneratorExit:
                for _ in found:
                    pass
                self._answers()
                raise
            except BaseException as error:
                raise self._explained(error) from error
            self._answers()

    def _packed(self, message: tuple[Any, ...]) -> bytes:
        if self.is_over:
            raise RankLost(self.lost or "the processes of this learner were ended")
        return packed(message)

    def _send(self, data: bytes) -> None:
        """Tells all of them. A long message to one that reads nothing would not end by itself."""
        for rank, link in self._links.items():
            if len(data) <= SHORT_BYTES:
                link.send_bytes(data)
                continue
            sent = Sending(link, data)
            self._await(rank, sent.ended)
            if sent.error:
                raise sent.error

    def _answers(self) -> list[Any]:
        """Returns what the other processes returned, by rank."""
        answers = {rank: self._answer(rank, link) for rank, link in self._links.items()}
        return [answers[rank] for rank in sorted(answers)]

    def _answer(self, rank: int, link: Connection) -> Any:
        try:
            self._await(rank, link.poll)
            kind, value, *stopped = pickle.loads(link.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._gone(f"rank {rank} {self._state(rank)}") from error
        if kind == "failed":
            raise self._gone(told(rank, value))
        request = stop_request()
        if stopped and stopped[0] and request and not request.signal:
            request.signal = stopped[0]  # whichever process is asked to stop, all of them do
        return value

    def _await(self, rank: int, came: Callable[[float], bool]) -> None:
        """Waits until a process says something, or has taken what it was told; not as long where this one was asked to
        stop. ``came`` waits for so many seconds, and says whether it is so."""
        until = time.monotonic() + self.timeout
        stop_by = until
        while not came(min(POLL_SECONDS, self.timeout)):
            now, number = time.monotonic(), stop_signal()
            stop_by = min(stop_by, now + STOP_SECONDS) if number else until
            if now > until:
                raise self._gone(f"rank {rank} did not answer within {self.timeout:g} s: {self._state(rank)}")
            if now > stop_by:
                words = f"rank {rank} {self._state(rank)}"
                raise self._gone(f"stopped by {signal.Signals(number).name}, without the step under way: {words}")

    def _explained(self, error: BaseException) -> BaseException:
        """Returns what to raise where this process failed: the error of another one, where that is the cause."""
        failures, states = first_words(self._links, GRACE)
        if not of_transport(error):
            if len(failures) == self.count - 1:  # all alike, as where a batch can't be computed at all
                for link in self._links.values():
                    link.send_bytes(packed(("go on",)))
            elif failures or "silent" in states.values():
                self._gone(f"rank 0 failed: {type(error).__name__}: {error}")
            return error
        cause = first_cause(failures, states)
        if cause is None:
            return self._gone(f"processes lost each other: {error}")
        rank, words = cause
        return self._gone(words or f"rank {rank} {self._state(rank)}")

    def _gone(self, words: str) -> RankLost:
        self.lost = f"{words}; the run ends here, and the same command continues it from its last checkpoint"
        return RankLost(self.lost)

    def _state(self, rank: int) -> str:
        """Says in words what is known of a process."""
        process = self.processes.get(rank)
        if process is None:
            return f"of {self.count} can't be reached"
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        code = process.poll()
        if code is None:
            return f"(process {process.pid}) does not go on"
        if code == -signal.SIGKILL:
            return f"(process {process.pid}) was ended by SIGKILL; where nobody did that, memory has run out"
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"(process {process.pid}) {ended}"

    def close(self) -> None:
        """Ends the other processes. May be called twice."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        for link in self._links.values():
            with suppress(OSError):
                if not self.lost:
                    link.send_bytes(packed(("end",)))
                link.close()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.0 if self.lost else SECONDS_TO_END)
            if process.poll() is None:
                process.kill()
                process.wait(SECONDS_TO_END)
        with suppress(Exception):
            dist.destroy_process_group()
        if _open.get(0) is self:
            del _open[0]


_open: dict[int, Ranks] = {}


def ranks_of(count: int, timeout_seconds: float) -> Ranks:
    """Returns the processes that follow this one, started where there are none. Raises UserError where there is
    another number of them, and a learner computes in them."""
    known = _open.get(0)
    if known is not None and (known.is_over or ((known.count, known.timeout) != (count, timeout_seconds)
                                                and not known.users)):  # fmt: skip
        known.close()
        known = None
    if known is None:
        known = _open[0] = Ranks(count, timeout_seconds)
    elif known.count != count:
        raise UserError(
            f"learner FSDP: {count} processes beside a learner of {known.count}; expected one number for all learners "
            "of a run"
        )
    return known


def end_ranks() -> None:
    """Ends the processes that follow this one, if any."""
    for known in list(_open.values()):
        known.close()


def release_ranks() -> None:
    """Lets the processes that torchrun started go, where a run needed none of them."""
    if not Ranks.begun:
        tell_over(store_of_all(), int(os.environ["WORLD_SIZE"]))
    end_ranks()
