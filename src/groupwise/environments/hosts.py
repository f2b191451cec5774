"""Processes in which episodes live, as their caller sees them: asked without waiting, killed where they hang.

An episode that ends with a process, and was not what ended it, is played again in the next one: from its seed and the
words that it was told. It must say what it said before. So is one in which a process ended, once: whoever ends it there
again is what ends it, and the first time it may have been the system, for want of memory, or a person.
"""

from __future__ import annotations

import json
import selectors
import struct
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from mmap import mmap
from typing import Any

from groupwise.environments.inside import BEGIN, CLOSE, NOBODY, SAY, Order, packed, serve_episodes
from groupwise.environments.plain import Plain
from groupwise.environments.protocol import Environment, Reply
from groupwise.environments.turns import Turns
from groupwise.errors import UserError
from groupwise.isolation.fork_server import GRACE_SECONDS, ForkServer, Worker
from groupwise.isolation.pool import MEMORY_BYTES

SENT_TOGETHER = 1 << 14  # bytes of orders that need not wait for more

Answer = tuple[int, Plain, float]
"""The episode's number; what it says, how it ends, or why it does not go on; and the seconds that it took so far."""


@dataclass(eq=False)
class _Episode:
    """What was told and heard so far."""

    number: int
    orders: list[Order]
    heard: list[Plain] = field(default_factory=list)
    replies: int = 0
    """Of the process in which it lives now."""
    seconds: float = 0.0
    """That it took so far."""
    broken: str = ""
    """What it says otherwise than before."""
    has_died: bool = False
    """Whether a process has ended while it ran."""

    @property
    def is_asked(self) -> bool:
        return len(self.heard) < len(self.orders)

    @property
    def is_closing(self) -> bool:
        return self.orders[-1][0] == CLOSE


class Host:
    """This is one process, started anew where it had to be killed."""

    def __init__(self, environment: Environment, turns: Turns) -> None:
        self.turns, self.mark = turns, mmap(-1, 8)
        self.serve = partial(serve_episodes, environment=environment, seconds=turns.reply_seconds, mark=self.mark)
        self.episodes: dict[int, _Episode] = {}
        self.asked: list[int] = []
        """Episodes whose answers are to come, in the order of what was sent."""
        self.since = 0.0
        """When the first of them was begun: sent, where nothing else was asked."""
        self._waits = False
        """Whether nothing of what is asked was sent yet."""
        self._unsent = bytearray()
        self._forks: ForkServer | None = None
        self._worker: Worker | None = None

    def start(self) -> None:
        """Forks what the first order would fork. Raises UserError where the system has no process left."""
        if self._forks is None or not self._forks.alive():
            self._forks = ForkServer(self.serve, MEMORY_BYTES, "an environment")
            self._worker = None
            weakref.finalize(self, self._forks.end)

    def order(self, order: Order) -> None:
        """Hands it over. Raises UserError for a row that cannot be sent."""
        what, number, _, _ = order
        if what == BEGIN:
            self.episodes[number] = _Episode(number, [])
        episode = self.episodes[number]
        try:
            data = packed(order)
        except Exception as error:  # pickle raises whatever an object's own methods raise
            said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"a row's columns cannot be sent to another process ({said}); give plain values") from error
        episode.orders.append(order)
        self._send(number, data)

    def _send(self, number: int, data: bytes) -> None:
        self.start()
        assert self._forks is not None
        if self._worker is None:
            struct.pack_into("q", self.mark, 0, NOBODY)
            self._worker = self._forks.new_worker()
            self._worker.connection.setblocking(False)
        self._waits = self._waits or not self.asked
        self.asked.append(number)
        self._unsent += data
        if len(self._unsent) > SENT_TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Sends as much of what was ordered as the process takes: at the latest where its answers are waited for."""
        if self._waits and self._unsent:
            self.since, self._waits = time.monotonic(), False
        while self._unsent and self._worker is not None:
            try:
                sent = self._worker.connection.send(memoryview(self._unsent)[: 1 << 20])
            except OSError:  # it is full, or has ended: the next read says so
                return
            del self._unsent[:sent]

    @property
    def connection(self) -> Any:
        """Returns what to wait on; None where nothing is to come."""
        return self._worker.connection if self._worker is not None and self.asked else None

    @property
    def is_full(self) -> bool:
        """Says whether it takes no more episodes."""
        return bool(self._unsent)

    def hear(self) -> list[Answer]:
        """Returns what has come, without waiting; of a process that hangs or has died, whom that costs what."""
        found: list[Answer] = []
        if self._worker is None or not self.asked:
            return found
        self.flush()
        lines, has_ended = _lines(self._worker)
        for answer in json.loads(b"[%b]" % b",".join(lines)):
            found += self._heard(*answer)
        if self.asked and (has_ended or time.monotonic() > self.deadline):
            found += self._killed("failed" if has_ended else "timeout")
        return found

    @property
    def deadline(self) -> float:
        """Returns when what is asked now must be answered. Answers before that of the episode that runs may wait to be
        sent with it, so that its own time counts."""
        running = self._running()
        now = self.episodes.get(running if running in self.episodes else self.asked[0])
        left = self.turns.episode_seconds - (now.seconds if now is not None else 0.0)
        return self.since + max(0.0, min(self.turns.reply_seconds, left)) + GRACE_SECONDS

    def _running(self) -> int:
        """Returns the number of the episode that runs right now; NOBODY: none does."""
        return int(struct.unpack_from("q", self.mark, 0)[0])

    def _heard(self, number: int, plain: Plain, seconds: float) -> Iterator[Answer]:
        self.asked.remove(number)
        self.since = time.monotonic()
        episode = self.episodes.get(number)
        if episode is None:  # it is over, and this answers what it was told too late
            return
        place, episode.replies = episode.replies, episode.replies + 1
        if episode.is_closing and place == len(episode.orders) - 1:
            del self.episodes[number]
        elif place < len(episode.heard):
            if plain != episode.heard[place] and not episode.broken:
                was, now = _short(episode.heard[place]), _short(plain)
                episode.broken = f"not deterministic: played again, turn {place} said {now} and not {was}"
        else:
            episode.seconds += seconds
            if episode.broken:
                plain = {"failed": episode.broken}
            elif episode.seconds > self.turns.episode_seconds:
                plain = {"timeout": f"{episode.seconds:.3g} s in all, more than {self.turns.episode_seconds:g}"}
            yield self._told(episode, plain)

    def _told(self, episode: _Episode, plain: Plain) -> Answer:
        episode.heard.append(plain)
        if "says" not in plain:
            self.episodes.pop(episode.number, None)
        return episode.number, plain, episode.seconds

    def _killed(self, how: str) -> Iterator[Answer]:
        """Ends the process; who ran in it is at fault, and the others are played again."""
        assert self._forks is not None
        running = self._running()
        place = self._forks.end_worker() if self._forks.worker is not None else ""
        self._worker, self._unsent = None, bytearray()
        at_fault = running if running in self.episodes else self.asked[0]
        self.asked.clear()
        episode = self.episodes.get(at_fault)
        if episode is not None and how == "failed" and not episode.has_died:
            episode.has_died, episode = True, None  # perhaps somebody else ended it: it has a second try
        else:
            self.episodes.pop(at_fault, None)
        if episode is not None and episode.is_asked and not episode.is_closing:
            within = min(self.turns.reply_seconds, self.turns.episode_seconds)
            why = f"no reply within {within:g} s{place}" if how == "timeout" else f"its process ended{place}"
            yield at_fault, {how: why}, episode.seconds + time.monotonic() - self.since
        for each in list(self.episodes.values()):
            if each.is_closing:
                del self.episodes[each.number]
                continue
            each.replies = 0
            for order in each.orders:
                self._send(each.number, packed(order))

    def close(self) -> None:
        """Ends the process and all episodes in it."""
        self.episodes.clear()
        self.asked.clear()
        if self._forks is not None:
            self._forks.end()
        self._worker, self._unsent = None, bytearray()


class Worlds:
    """The episodes of one environment, over several processes. Of one thread."""

    def __init__(self, environment: Environment, turns: Turns) -> None:
        self.hosts = [Host(environment, turns) for _ in range(turns.processes)]
        self._count = 0

    def start(self) -> None:
        """Forks all processes now. Raises UserError where the system has none left."""
        for host in self.hosts:
            host.start()

    def begin(self, row: Mapping[str, Any], seed: int) -> int:
        """Begins an episode and numbers it. Raises UserError for a row that cannot be sent to another process."""
        number, self._count = self._count, self._count + 1
        self._host(number).order((BEGIN, number, dict(row), seed))
        return number

    def say(self, number: int, reply: Reply) -> None:
        """Tells an episode what the model said; nothing where it is over."""
        if number in self._host(number).episodes:
            self._host(number).order((SAY, number, reply, 0))

    def close_episode(self, number: int) -> None:
        """Ends an episode that nobody goes on with; nothing for one that has ended."""
        if number in self._host(number).episodes:
            self._host(number).order((CLOSE, number, None, 0))

    def flush(self) -> None:
        """Sends what was ordered; ``hear`` does so too."""
        for host in self.hosts:
            host.flush()

    def hear(self, seconds: float = 0.0) -> list[Answer]:
        """Returns what episodes answered, after at most so long; at once where something is there."""
        until = time.monotonic() + seconds
        while True:
            found = [answer for host in self.hosts for answer in host.hear()]
            left = until - time.monotonic()
            if found or left <= 0:
                return found
            self._wait(left)

    def close(self) -> None:
        """Ends all processes. The next episode starts others."""
        for host in self.hosts:
            host.close()

    def _host(self, number: int) -> Host:
        return self.hosts[number % len(self.hosts)]

    def _wait(self, seconds: float) -> None:
        waiting = [host for host in self.hosts if host.connection is not None]
        soonest = min((host.deadline - time.monotonic() for host in waiting), default=seconds)
        with selectors.DefaultSelector() as selector:
            for host in waiting:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if host.is_full else 0)
                selector.register(host.connection, events)
            selector.select(max(0.0, min(seconds, soonest + 0.01)))


def _lines(worker: Worker) -> tuple[Sequence[bytes], bool]:
    """Whole lines that have come, and whether the process has ended."""
    has_ended = False
    while True:
        try:
            chunk = worker.connection.recv(1 << 18)
        except BlockingIOError:
            break
        except OSError:
            chunk = b""
        if not chunk:
            has_ended = True
            break
        worker.buffer += chunk
    *lines, worker.buffer = worker.buffer.split(b"\n")
    return lines, has_ended


def _short(plain: Plain) -> str:
    text = json.dumps(plain, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-20:]}"
