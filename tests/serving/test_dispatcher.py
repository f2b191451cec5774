"""Many ask one engine: whatever becomes of it, nobody waits for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from groupwise.serving.dispatcher import Dispatcher
from groupwise.types import Completion, CompletionEvent, Event, Request, Sampling

SECONDS = 600.0
"""A deadline that only what never comes reaches."""


class Breaking:
    """An engine that breaks at its first request, or when it makes the stream, and then works."""

    def __init__(self, breaks: str) -> None:
        self.breaks = breaks

    def stream(self, sampling: Sampling, every_token: bool = False) -> Any:
        self._break("stream")
        return self

    def submit(self, request: Request) -> int:
        self._break("submit")
        self.asked = [request]
        return 0

    def events(self) -> Iterator[Event]:
        self._break("events")
        while self.asked:
            self.asked.pop()
            yield CompletionEvent(0, 0, Completion((7,), (-1.0,), True, 0))

    def cancel(self, number: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""

    def _break(self, where: str) -> None:
        if self.breaks == where:
            self.breaks = ""
            raise ConnectionError(f"broken in {where}")


@pytest.mark.parametrize("where", ["stream", "submit", "events"])
def test_a_request_that_an_engine_breaks_on_is_told_and_the_next_is_served(where: str) -> None:
    dispatcher = Dispatcher(Breaking(where))  # type: ignore[arg-type]
    first = dispatcher.submit(Request((1,), (0,)), Sampling(4))
    with pytest.raises(ConnectionError, match=f"broken in {where}"):
        first.next(SECONDS)
    event = dispatcher.submit(Request((1,), (0,)), Sampling(4)).next(SECONDS)
    assert isinstance(event, CompletionEvent)
    assert event.completion.tokens == (7,)
    assert dispatcher.open == 0
    dispatcher.close()
