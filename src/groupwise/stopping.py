"""Stopping when asked: SIGINT and SIGTERM are heeded where nothing is lost by it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(BaseException):
    """Raised at a place that can be given up: what follows it is done again, to the same bits."""


class _Asked:
    signal = 0
    """What asked; 0: nothing did."""
    at_once = False


asked = _Asked()


class Stopped(Exception):  # noqa: N818 - it is no error
    """The run was asked to stop, by ``signal``, and has saved where it is."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.signal = asked.signal


def heed() -> None:
    """Raises Interrupted where a stop was asked for."""
    if asked.signal:
        raise Interrupted


@contextmanager
def given_up_at_once() -> Iterator[None]:
    """Nothing in here changes what is kept: a signal raises Interrupted wherever it is."""
    heed()
    asked.at_once = True
    try:
        yield
    finally:
        asked.at_once = False


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """SIGINT or SIGTERM: save and stop, as soon as nothing is lost by it. A second one ends the process at once."""

    def ask(number: int, frame: Any) -> None:
        if asked.signal:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        asked.signal = number
        if asked.at_once:
            asked.at_once = False
            raise Interrupted

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        asked.signal, asked.at_once = 0, False
        for number, handler in before.items():
            signal.signal(number, handler)
