"""This module draws what many clients ask for with one engine: one thread reads its stream, others ask and wait."""

from __future__ import annotations

import queue
import threading
from collections import deque

from groupwise.protocols import RolloutEngine, Stream
from groupwise.serving.refusal import Refusal
from groupwise.types import CompletionEvent, Event, Request, Sampling

MOST_OPEN = 1024
"""Requests that wait or are under way at one time."""


class Drawing:
    """This is one request that is under way. Its events are read by one thread."""

    def __init__(self, request: Request, sampling: Sampling) -> None:
        self.request, self.sampling = request, sampling
        self.left = len(request.seeds)
        self.is_cancelled = False
        self.heard: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()

    def next(self, seconds: float) -> Event | None:
        """Waits for what happens next; None: nothing within that time. Raises what went wrong."""
        try:
            event = self.heard.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(event, Exception):
            raise event
        return event


class Dispatcher:
    """Requests that are drawn by the same rule (temperature, top-p, stop texts) are drawn side by side. One with
    another rule waits until those before it are done, and those behind it wait for it."""

    def __init__(self, engine: RolloutEngine) -> None:
        self._engine = engine
        self._waiting: deque[Drawing] = deque()
        self._running: dict[int, Drawing] = {}
        self._change = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="groupwise-serve-engine", daemon=True)
        self._thread.start()

    @property
    def open(self) -> int:
        """Counts the requests that wait or are under way."""
        return len(self._waiting) + len(self._running)

    def submit(self, request: Request, sampling: Sampling) -> Drawing:
        """Raises Refusal where too many wait."""
        drawing = Drawing(request, sampling)
        with self._change:
            if self._is_closed:
                raise Refusal(503, "the server is being stopped")
            if self.open >= MOST_OPEN:
                raise Refusal(429, f"{self.open} requests are open, as many as may be; try again later")
            self._waiting.append(drawing)
            self._change.notify()
        return drawing

    def cancel(self, drawing: Drawing) -> None:
        """Gives up a request that nobody waits for any more; the engine is told at its next event."""
        with self._change:
            drawing.is_cancelled = True
            if drawing in self._waiting:
                self._waiting.remove(drawing)

    def close(self) -> None:
        """Ends everything that is under way."""
        with self._change:
            self._is_closed = True
            self._change.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._waiting and not self._is_closed:
                    self._change.wait()
                if self._is_closed:
                    return self._fail(Refusal(503, "the server was stopped"))
                sampling = self._waiting[0].sampling
            try:
                stream = self._engine.stream(sampling, every_token=True)
                try:
                    self._draw(stream, sampling)
                finally:
                    stream.close()
            except Exception as error:  # whoever waits is told; the next request has a new stream
                self._fail(error, only_running=True)

    def _draw(self, stream: Stream, sampling: Sampling) -> None:
        """Draws until nothing of this rule is left, or something else waits."""
        while self._admit(stream, sampling):
            for event in stream.events():
                self._tell(event)
                if self._is_closed:
                    return
                self._drop_cancelled(stream)
                self._admit(stream, sampling)

    def _admit(self, stream: Stream, sampling: Sampling) -> bool:
        """Hands over what waits in front; whether anything is under way."""
        while True:
            with self._change:
                if self._is_closed or not self._waiting or self._waiting[0].sampling != sampling:
                    return bool(self._running) and not self._is_closed
                drawing = self._waiting.popleft()
                try:
                    self._running[stream.submit(drawing.request)] = drawing
                except ValueError as error:
                    drawing.heard.put(Refusal(400, str(error)))
                except Exception as error:  # the stream is no good; this request is in no list any more
                    drawing.heard.put(error)
                    raise

    def _tell(self, event: Event) -> None:
        drawing = self._running.get(event.request)
        if drawing is None:
            return
        drawing.heard.put(event)
        if isinstance(event, CompletionEvent):
            drawing.left -= 1
            if not drawing.left:
                del self._running[event.request]

    def _drop_cancelled(self, stream: Stream) -> None:
        for number in [number for number, drawing in self._running.items() if drawing.is_cancelled]:
            del self._running[number]
            stream.cancel(number)

    def _fail(self, error: Exception, only_running: bool = False) -> None:
        with self._change:
            failed = [*self._running.values()]
            self._running.clear()
            while self._waiting and not (only_running and failed):  # one at least, or it would fail for ever
                failed.append(self._waiting.popleft())
        for drawing in failed:
            drawing.heard.put(error)
