"""This module says whether what runs here was asked to stop. Who listens to signals makes a ``StopRequest``; what runs
inside its scope reads it, and nothing else does: another run in another thread of this process goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


class Interrupted(BaseException):
    """Raised at a place that can be given up: what follows it is done again, to the same bits."""


@dataclass(eq=False)
class StopRequest:
    """Whether what runs was asked to stop."""

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


def stop_request() -> StopRequest | None:
    """Returns the request of what runs here; None: nobody listens."""
    return _current.get()


def stop_signal() -> int:
    """Returns the signal that asked what runs here to stop; 0: none did, or nobody listens."""
    request = _current.get()
    return request.signal if request else 0


@contextmanager
def stop_scope(request: StopRequest) -> Iterator[None]:
    """Lets what runs in here be stopped by this request, and by no other."""
    inside = _current.set(request)
    try:
        yield
    finally:
        _current.reset(inside)
