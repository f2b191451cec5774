"""This module follows the processes that ``--ray`` has placed: what they say, how they end, and how they are ended."""

from __future__ import annotations

import os
import queue
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from groupwise.errors import UserError
from groupwise.output.printable import visible

STOP_SECONDS = 60.0
LAST_LINES = 5


@dataclass(frozen=True)
class Job:
    """A process to be placed: its words behind ``groupwise``, its variables, and how lines of it begin."""

    words: tuple[str, ...]
    variables: dict[str, str]
    prefix: str = ""


class Running:
    """These are the placed processes: what they say is printed as it comes."""

    def __init__(self) -> None:
        self._said = queue.SimpleQueue[tuple[int, str | int]]()
        self._started: list[tuple[Any, Job]] = []
        self._first = -1
        self._ended: dict[int, int] = {}
        self._last: dict[int, list[str]] = {}

    def start(self, starter: Any, job: Job, first: bool = False) -> None:
        """Starts a process; ``first``: the one whose end is the end of all."""
        number = len(self._started)
        self._started.append((starter, job))
        self._last[number] = []
        if first:
            self._first = number
        lines = starter.start.options(num_returns="streaming").remote(list(job.words), job.variables, os.getcwd())
        threading.Thread(target=self._listen, args=(number, lines), daemon=True).start()

    def urls(self, count: int) -> list[str]:
        """Returns the addresses of so many servers, once all serve. Raises UserError where one ends before."""
        found = dict[int, str]()
        while len(found) < count:
            number, said = self._heard()
            if isinstance(said, int):
                raise UserError(f"--ray_servers: server {number} ended with status {said}: {self._words(number)}")
            if said.startswith("http"):
                found[number] = said
        return [found[number] for number in sorted(found)]

    def status(self) -> int:
        """Waits until the first process has ended and returns its status. Raises UserError where its actor, or that of
        another one, died with its machine."""
        while self._first not in self._ended:
            number, said = self._heard()
            if isinstance(said, int) and said < 0 and number != self._first:
                self._started[self._first][0].stop.remote(signal.SIGINT)
        ended = self._ended[self._first]
        if ended < 0:
            raise UserError(f"--ray: the first process was ended by signal {-ended}: {self._words(self._first)}")
        return ended

    def stop(self) -> None:
        """Tells every process that still runs to end: the first by an interrupt, after which it saves."""
        for number, (starter, _) in enumerate(self._started):
            if number not in self._ended:
                starter.stop.remote(signal.SIGINT if number == self._first else signal.SIGTERM)
        with suppress(queue.Empty):
            while len(self._ended) < len(self._started):
                self._heard(STOP_SECONDS)

    def _words(self, number: int) -> str:
        return visible(" | ".join(self._last[number][-LAST_LINES:])) or "it said nothing"

    def _heard(self, seconds: float | None = None) -> tuple[int, str | int]:
        number, said = self._said.get(timeout=seconds)
        if isinstance(said, int):
            self._ended[number] = said
        else:
            self._last[number] = [*self._last[number], said][-LAST_LINES:]
            print(visible(self._started[number][1].prefix + said), flush=True)
        return number, said

    def _listen(self, number: int, lines: Any) -> None:
        import ray

        try:
            for each in lines:
                self._said.put((number, ray.get(each)))
        except Exception as error:  # of the cluster, of many kinds: the actor or its machine is gone
            self._said.put((number, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"))
            self._said.put((number, -signal.SIGKILL))
