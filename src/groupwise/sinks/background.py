"""A sink that works in a thread of its own, so that a tracker that is slow, or hangs, keeps no step waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from groupwise.isolation.deadlines import Helper
from groupwise.output.masking import masked
from groupwise.protocols import Sink
from groupwise.sinks.delivery import DeliveryRecord

if TYPE_CHECKING:
    from groupwise.output.sample_completions import SampleCompletion

PATIENCE_SECONDS = 300.0
"""A tracker that has been at one thing for so long hangs."""
CLOSING_SECONDS = 60.0
"""So long the end of a run waits for what is not told yet."""
COLUMNS = ("which", "question", "completion", "reward", "correct", "finished")
"""Of the table of an evaluation's completions."""


class TrackerRun(Protocol):
    """This is an open run of a tracker."""

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """The numbers of one step."""
        ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Takes rows of plain values under a name."""
        ...

    def close(self, summary: Mapping[str, Any]) -> None:
        """The run is over, or stops here."""
        ...


class BackgroundSink(Sink):
    """A background sink hands everything to a ``TrackerRun`` that is opened and called in one thread. It raises, at a
    later call, what went wrong there, and TimeoutError where it hangs.

    ``heard`` knows what the board has from before: then it is told what it lacks when it is opened, and no step twice.
    """

    def __init__(self, name: str, open_board: Callable[[], TrackerRun], heard: DeliveryRecord | None = None) -> None:
        self.name, self._heard = name, heard
        self._helper = Helper(f"sink {name}", apart=True)
        self._pending: deque[Future[None]] = deque()
        self._begun = time.monotonic()
        self._opened: list[TrackerRun] = []
        self._do(lambda: self._open(open_board()))

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Sends the numbers of a step in the tracker's own thread."""
        told = dict(values)
        self._do(lambda: self._log(stage, step, told))

    def completions(self, name: str, chosen: Mapping[str, SampleCompletion]) -> None:
        """Sends the completions of an evaluation as a table, keys and passwords masked."""
        rows = [
            (which, masked(each.question), masked(each.text), each.reward, each.correct, each.finished)
            for which, each in chosen.items()
        ]
        self._do(lambda: self._opened[0].table(name, COLUMNS, rows))

    def close(self, summary: Mapping[str, Any]) -> None:
        """Waits for what is not told yet, but not for long."""
        told = {name: str(value) for name, value in summary.items()}
        self._do(lambda: self._opened[0].close(told))
        ends = time.monotonic() + CLOSING_SECONDS
        try:
            while self._pending:
                self._pending.popleft().result(timeout=max(0.0, ends - time.monotonic()))
        except TimeoutError:
            raise TimeoutError(f"did not finish within {CLOSING_SECONDS:g} s of the run's end") from None
        finally:
            self._helper.close()

    def _open(self, board: TrackerRun) -> None:
        self._opened.append(board)
        for missed in self._heard.missed() if self._heard else ():
            self._log(*missed)

    def _log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        if self._heard is None or self._heard.lacks(stage, step):
            self._opened[0].log(stage, step, values)
            if self._heard is not None:
                self._heard.add(stage, step)

    def _do(self, call: Callable[[], None]) -> None:
        """Raises what an earlier call raised."""
        while self._pending and self._pending[0].done():
            self._begun = time.monotonic()
            self._pending.popleft().result()
        if not self._pending:
            self._begun = time.monotonic()
        elif time.monotonic() - self._begun > PATIENCE_SECONDS:
            raise TimeoutError(f"has not answered for {PATIENCE_SECONDS:g} s")
        self._pending.append(self._helper.submit(call))
