"""This module stops a run when it is asked to: SIGINT and SIGTERM are heeded where nothing is lost by it.

Who listens to signals makes a ``StopRequest``; what runs inside that ``with`` reads it, and nothing else does: another
run in another thread of this process goes on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


class Interrupted(BaseException):
    """This is raised at a place that can be given up: what follows it is done again, to the same bits."""


@dataclass(eq=False)
class StopRequest:
    """Says whether what runs was asked to stop."""

    signal: int = 0
    """What asked; 0: nothing did."""
    at_once: bool = False
    """Whether what runs can be given up wherever it is."""

    def ask(self, number: int, frame: Any = None) -> None:
        """Asks, as a signal's handler. A second signal ends the process as if nobody listened."""
        if self.signal:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = number
        if self.at_once:
            self.at_once = False
            raise Interrupted


_current: ContextVar[StopRequest | None] = ContextVar("stop request", default=None)


def stop_signal() -> int:
    """Returns the signal that asked what runs here to stop; 0: none did, or nobody listens."""
    request = _current.get()
    return request.signal if request else 0


class Stopped(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop, by ``signal``, and has saved where it is."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.signal = stop_signal()


def raise_if_stopped() -> None:
    """Raises Interrupted where a stop was asked for."""
    if stop_signal():
        raise Interrupted


@contextmanager
def interruptible() -> Iterator[None]:
    """Marks work that changes nothing that is kept: a signal raises Interrupted wherever it is."""
    raise_if_stopped()
    request = _current.get() or StopRequest()
    request.at_once = True
    try:
        yield
    finally:
        request.at_once = False


@contextmanager
def stop_scope(request: StopRequest) -> Iterator[None]:
    """Lets what runs in here be stopped by this request, and by no other."""
    inside = _current.set(request)
    try:
        yield
    finally:
        _current.reset(inside)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Listens to SIGINT or SIGTERM: save and stop, as soon as nothing is lost by it. A second one ends the process at
    once.

    Of the main thread, which alone hears signals.
    """
    request = StopRequest()
    before = {number: signal.signal(number, request.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with stop_scope(request):
            yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
