"""This module lets no wait go without an end: who waits for whom, for how long, and where they stand when it takes too
long."""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from groupwise.errors import UserError

T = TypeVar("T")
PATIENCE_SECONDS = 600.0
"""After so long, and then again and again, what is waited for is told."""
MOST_TIMES = 6
"""Then it is given up."""
FRAMES = 6
NO_THREAD = "the system gives no further thread; raise the limit on processes (ulimit -u) or on memory"


def result(
    future: Future[T],
    who: str,
    whom: str,
    on_note: Callable[[str], None],
    seconds: float | None = None,
    times: int | None = None,
) -> T:
    """Returns what a future holds. ``on_note`` hears every ``seconds`` who waits for whom and where all threads stand.

    Raises what the future raises; and UserError when it was told ``times`` times.
    """
    seconds, times = seconds or PATIENCE_SECONDS, times or MOST_TIMES
    for time in range(1, times + 1):
        try:
            return future.result(timeout=seconds)
        except TimeoutError:
            if future.done():  # its own
                raise
        waited = f"{who} has waited {time * seconds:g} s for {whom}"
        on_note(f"{waited}: {stacks()}")
    raise UserError(f"{waited} and gives up; {stacks()}; mend what it stands in, or make it faster")


def stacks(like: str = "") -> str:
    """Says where all other threads stand, or those whose names begin so, in one line: the innermost frames first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    told = [
        f"{names.get(number, 'a thread')} stands in {_frames(frame)}"
        for number, frame in sys._current_frames().items()
        if number != threading.get_ident() and names.get(number, "").startswith(like)
    ]
    return "; ".join(told) or "no other thread runs"


def _frames(frame: Any) -> str:
    found = traceback.extract_stack(frame)[::-1][:FRAMES]
    return " < ".join(f"{each.name} ({each.filename}:{each.lineno})" for each in found)


class Helper:
    """This helper is one thread that does one thing after the other, and is left behind where it hangs: it keeps no
    process alive.

    Where the system gives no further thread, whoever hands something over does it there and then. With ``apart`` it
    must not: then UserError is raised.
    """

    def __init__(self, name: str, apart: bool = False) -> None:
        self._orders: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._is_alone = False
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError as error:
            if apart:
                raise UserError(f"{name}: {NO_THREAD}") from error
            self._is_alone = True

    def submit(self, do: Callable[[], T]) -> Future[T]:
        """Puts a call behind those that wait."""
        future: Future[T] = Future()
        if self._is_alone:
            self._answer(future, do)
        else:
            self._orders.put((future, do))
        return future

    def close(self) -> None:
        """Cancels what has not begun, and waits for nothing."""
        self._over.set()
        self._orders.put(None)

    def _work(self) -> None:
        while order := self._orders.get():  # ends with close()
            self._answer(*order)

    def _answer(self, future: Future[Any], do: Callable[[], Any]) -> None:
        if self._over.is_set():
            future.cancel()
        elif future.set_running_or_notify_cancel():
            try:
                future.set_result(do())
            except BaseException as error:
                future.set_exception(error)
