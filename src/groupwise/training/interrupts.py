"""This module stops a run when it is asked to: SIGINT and SIGTERM are heeded where nothing is lost by it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from groupwise.learning.stop_request import (
    Interrupted,
    StopRequest,
    stop_request,
    stop_scope,
    stop_signal,
)

__all__ = [
    "Interrupted",
    "StopRequest",
    "Stopped",
    "interruptible",
    "raise_if_stopped",
    "stop_on_signals",
    "stop_scope",
    "stop_signal",
]

IDLE_SECONDS = 15.0
"""A process that was asked to stop, can't hear it and computes nothing for so long waits for another one."""
IDLE_SHARE = 0.1
"""Of a core: who takes more computes."""


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
    request = stop_request() or StopRequest()
    request.at_once = True
    try:
        yield
    finally:
        request.at_once = False


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Listens to SIGINT or SIGTERM: save and stop, as soon as nothing is lost by it. A second one ends the process at
    once, and so does the first where the process waits in compiled code and can't hear it.

    Of the main thread, which alone hears signals.
    """
    request = StopRequest()
    before = {number: signal.signal(number, request.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    heard, told = socket.socketpair()
    told.setblocking(False)
    listening = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    watch = threading.Thread(target=end_deaf, args=(heard, request), name="signals", daemon=True)
    watch.start()
    _listening.add(told.fileno())
    try:
        with stop_scope(request):
            yield request
    finally:
        _listening.discard(told.fileno())
        signal.set_wakeup_fd(listening)
        told.shutdown(socket.SHUT_WR)  # children that were forked meanwhile, of environments say, have it open too
        told.close()
        watch.join(IDLE_SECONDS)
        heard.close()
        for number, handler in before.items():
            signal.signal(number, handler)


_listening: set[int] = set()


def _listen_no_more() -> None:
    """A child's signals are not its parent's."""
    if _listening:
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_listen_no_more)


def end_deaf(
    heard: socket.socket, request: StopRequest, end: Callable[[int], object] = os._exit, idle: float = IDLE_SECONDS
) -> None:
    """Ends this process where it was asked to stop, by the signals of which ``heard`` brings the numbers, and its main
    thread does not get to hear it: at the second one, or after so many seconds in which it computes nothing. Whatever
    it has written is whole at any instant."""
    numbers = b""
    while more := heard.recv(1):
        if more[0] not in (signal.SIGINT, signal.SIGTERM):
            continue
        numbers += more
        if len(numbers) > 1 and not request.signal:
            end(128 + numbers[0])
        if len(numbers) == 1:
            threading.Thread(target=_end_idle, args=(request, numbers[0], end, idle), daemon=True).start()


def _end_idle(request: StopRequest, number: int, end: Callable[[int], object], idle: float) -> None:
    since, worked = time.monotonic(), time.process_time()
    while not request.signal:
        time.sleep(min(0.2, idle / 4))
        now, used = time.monotonic(), time.process_time()
        if used - worked > IDLE_SHARE * (now - since):
            since, worked = now, used
        elif now - since > idle:
            print(
                f"groupwise: asked to stop by {signal.Signals(number).name} while it waited for another process or "
                "machine; ended here, and the same command goes on from the last checkpoint",
                file=sys.stderr,
                flush=True,
            )
            end(128 + number)
            return
