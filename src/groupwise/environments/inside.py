"""This module runs in a process that hosts episodes: it begins them, tells them what the model said, and answers in
JSON.

Ordinary generators take their turns in the order in which they are asked; asynchronous ones run side by side in one
event loop. Python's and numpy's own random generators begin anew with each episode and are its own, whoever else lives
here: an episode that is played again elsewhere says the same.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import pickle
import random
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from mmap import mmap
from random import Random
from typing import Any

from groupwise.environments.plain import Plain, WrongWordsError, raised, result, shortened, utterance
from groupwise.environments.protocol import Ended, Environment, Reply

BEGIN, SAY, CLOSE = "begin", "say", "close"
Order = tuple[str, int, Any, int]
"""What is to be done, the episode's number, a row's columns or a reply, and the seed that it begins with."""
CLOSED: Plain = {"closed": True}
NOBODY = -1
SIZE = 8
"""Bytes before each order, which say how long it is."""
TOGETHER_SECONDS = 0.0005
"""Answers of so long are sent together: to send one takes longer than many a turn."""


def packed(order: Order) -> bytes:
    """An order as it is sent. Raises whatever pickle does."""
    body = pickle.dumps(order)
    return len(body).to_bytes(SIZE, "big") + body


def serve_episodes(connection: socket.socket, environment: Environment, seconds: float, mark: mmap) -> None:
    """Does what the caller orders until it hangs up. ``mark`` holds the number of the episode that runs right now."""
    connection.setblocking(False)
    asyncio.run(_Host(environment, seconds, mark).serve(connection))


class _Host:
    """All episodes of one process."""

    def __init__(self, environment: Environment, seconds: float, mark: mmap) -> None:
        self.environment, self.seconds, self.mark, self.process = environment, seconds, mark, os.getpid()
        self.episodes: dict[int, _Episode] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.unsent, self.since = bytearray(), 0.0
        """Answers, and when the first of them was there."""
        self.free: list[Any] = []
        """Bit generators of numpy's whose episodes have ended: to make one takes longer than a turn."""

    async def serve(self, connection: socket.socket) -> None:
        """Does orders one after the other, as many as have come at a time."""
        reader, self.writer = await asyncio.open_connection(sock=connection)
        unread = bytearray()
        with suppress(ConnectionError):
            while chunk := await reader.read(1 << 18):
                unread += chunk
                done = 0
                while (begins := done + SIZE) <= len(unread):
                    ends = begins + int.from_bytes(unread[done:begins], "big")
                    if ends > len(unread):
                        break
                    await self.follow(*pickle.loads(unread[begins:ends]))
                    done = ends
                del unread[:done]
                await self.send()

    async def follow(self, what: str, number: int, given: Any, seed: int) -> None:
        """Answers at once, or later where the episode is asynchronous."""
        if what == BEGIN:
            self.episodes[number] = _Episode(number, self)
        episode, started = self.episodes.get(number), time.perf_counter()
        if episode is None:  # it ended before it was told this
            await self.answer(number, CLOSED, started)
        elif what == BEGIN and (failed := episode.made(given, seed)):
            await self.answer(number, failed, started)
        elif episode.is_asynchronous:
            episode.under_way = asyncio.ensure_future(self.later(episode, what, given, episode.under_way))
            self.tasks.add(episode.under_way)
            episode.under_way.add_done_callback(self.tasks.discard)
        else:
            await self.answer(number, episode.step(what, given), started)

    def bits(self, numpy: Any) -> Any:
        """A bit generator that no living episode has, of the kind that ``numpy.random.seed`` seeds."""
        while self.free:
            if isinstance(found := self.free.pop(), numpy.random.MT19937):
                return found
        return numpy.random.MT19937()

    async def later(self, episode: _Episode, what: str, given: Any, before: asyncio.Task[None] | None) -> None:
        """One order to an asynchronous episode, behind those before it."""
        if before is not None:
            await asyncio.wait({before})
        started = time.perf_counter()
        await self.answer(episode.number, await episode.awaited(what, given, self.seconds), started)
        await self.send()

    async def answer(self, number: int, plain: Plain, started: float) -> None:
        """A copy of this process that an environment forks says nothing. Of an episode that is over nothing stays."""
        if os.getpid() != self.process:
            os._exit(0)
        over = self.episodes.pop(number, None) if "says" not in plain else None
        if over is not None and over.states is not None and over.states[1] is not None:
            self.free.append(over.states[1])
        now = time.perf_counter()
        self.since = self.since if self.unsent else now
        self.unsent += json.dumps([number, plain, now - started]).encode() + b"\n"
        if now - self.since > TOGETHER_SECONDS:
            await self.send()

    async def send(self) -> None:
        """Sends the answers that are there."""
        if self.unsent:
            self.writer.write(bytes(self.unsent))
            self.unsent.clear()
        if self.writer.transport.is_closing() or self.writer.transport.get_write_buffer_size():
            await self.writer.drain()


class _Episode:
    """One generator, and the random states that are its own."""

    def __init__(self, number: int, host: _Host) -> None:
        self.number, self.host = number, host
        self.generator: Any = None
        self.states: tuple[Any, Any] | None = None
        self.under_way: asyncio.Task[None] | None = None

    @property
    def is_asynchronous(self) -> bool:
        return inspect.isasyncgen(self.generator)

    def made(self, row: Mapping[str, Any], seed: int) -> Plain | None:
        """Calls the environment; what went wrong, if anything did."""
        self.states = None
        try:
            with self.running(seed):
                made = self.host.environment(row, Random(seed))
            if not inspect.isasyncgen(made) and not isinstance(made, Generator):
                raise WrongWordsError(
                    f"is no generator: it gave {shortened(made)} ({type(made).__name__}); expected a function that "
                    "yields what it says and returns the reward"
                )
        except BaseException as error:
            return {"failed": raised(error, self.host.environment)}
        self.generator = made
        return None

    def step(self, what: str, reply: Reply) -> Plain:
        """Begins, goes on with what the model said, or closes."""
        if self.generator is None:
            return CLOSED if what == CLOSE else {"failed": "it never began"}
        try:
            with self.running():
                if what == CLOSE:
                    self.generator.close()
                    return CLOSED
                said = next(self.generator) if what == BEGIN else self.generator.send(reply)
            return {"says": utterance(said)}
        except StopIteration as end:
            return self._ended(end.value)
        except BaseException as error:  # its own, whatever it is: the others of this process go on
            return CLOSED if what == CLOSE else {"failed": raised(error, self.host.environment)}

    async def awaited(self, what: str, reply: Reply, seconds: float) -> Plain:
        """As ``step``, of an asynchronous generator; after so many seconds it is given up."""
        generator = self.generator
        try:
            if what == CLOSE:
                await asyncio.wait_for(_Resumed(generator.aclose(), self), seconds)
                return CLOSED
            going = generator.__anext__() if what == BEGIN else generator.asend(reply)
            said = await asyncio.wait_for(_Resumed(going, self), seconds)
            return self._ended(said.result) if isinstance(said, Ended) else {"says": utterance(said)}
        except StopAsyncIteration:
            return self._ended(None)
        except TimeoutError:
            return CLOSED if what == CLOSE else {"timeout": f"no reply within {seconds:g} s"}
        except (Exception, asyncio.CancelledError) as error:  # nobody else cancels what runs here
            cause = error.__cause__ if isinstance(error, LeftError) else error
            return CLOSED if what == CLOSE else {"failed": raised(cause or error, self.host.environment)}

    def _ended(self, returned: Any) -> Plain:
        try:
            return {"ends": result(returned)}
        except Exception as error:  # what was returned may raise where it is read
            return {"failed": raised(error, self.host.environment)}

    @contextmanager
    def running(self, seed: int | None = None) -> Iterator[None]:
        """Its own random states, and its number on the mark."""
        struct.pack_into("q", self.host.mark, 0, self.number)
        numpy = sys.modules.get("numpy")
        state, bits = self.states or (None, None)
        if numpy is not None:  # copying numpy's state would take longer than many a turn: each has a generator instead
            numpy.random.set_bit_generator(bits or self.host.bits(numpy))
        if state is None:
            random.seed(seed)
            if numpy is not None:
                numpy.random.seed(random.getrandbits(32))
        else:
            random.setstate(state)
        try:
            yield
        finally:
            self.states = random.getstate(), numpy.random.get_bit_generator() if numpy is not None else None
            struct.pack_into("q", self.host.mark, 0, NOBODY)


class LeftError(Exception):
    """An asynchronous episode has raised what would end its process: by ``sys.exit``, for example."""


class _Resumed:
    """Awaits something of an episode; around every one of its steps the episode runs, and nobody beside it."""

    def __init__(self, awaitable: Awaitable[Any], episode: _Episode) -> None:
        self.awaitable, self.episode = awaitable, episode

    def __await__(self) -> Generator[Any, Any, Any]:
        inner: Any = self.awaitable.__await__()
        value: Any = None
        error: BaseException | None = None
        while True:
            with self.episode.running():
                try:
                    waits_for = inner.send(value) if error is None else inner.throw(error)
                except StopIteration as end:
                    return end.value
                except BaseException as left:  # but for ordinary ones it would end the loop that all live in
                    if isinstance(left, Exception | asyncio.CancelledError):
                        raise
                    raise LeftError from left
            value = error = None
            try:
                value = yield waits_for
            except BaseException as interrupted:
                error = interrupted
