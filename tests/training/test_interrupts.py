"""A stop is asked of one run: of what runs inside its ``with``, in its own thread, and of nothing else."""

from __future__ import annotations

import signal
import threading

import pytest

from groupwise.training.interrupts import (
    Interrupted,
    Stopped,
    StopRequest,
    interruptible,
    raise_if_stopped,
    stop_on_signals,
    stop_scope,
    stop_signal,
)


def test_nobody_asked() -> None:
    raise_if_stopped()
    with interruptible():
        assert stop_signal() == 0
    assert Stopped("here").signal == 0


def test_a_request_stops_what_runs_inside_it_alone() -> None:
    """Two runs in two threads, and one around: the first is stopped, the others never hear of it."""
    first, second = StopRequest(), StopRequest()
    heard: dict[str, int] = {}
    both = threading.Barrier(2)

    def run(name: str, request: StopRequest) -> None:
        with stop_scope(request):
            both.wait(60)
            if name == "first":
                request.ask(signal.SIGTERM)
            both.wait(60)
            heard[name] = stop_signal()

    threads = [threading.Thread(target=run, args=pair) for pair in (("first", first), ("second", second))]
    with stop_scope(StopRequest()):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        raise_if_stopped()
    assert heard == {"first": signal.SIGTERM, "second": 0}


def test_requests_are_nested() -> None:
    outer, inner = StopRequest(), StopRequest()
    with stop_scope(outer):
        with stop_scope(inner):
            inner.ask(signal.SIGINT)
            with pytest.raises(Interrupted):
                raise_if_stopped()
            assert Stopped("here").signal == signal.SIGINT
        raise_if_stopped()
    assert (outer.signal, inner.signal) == (0, signal.SIGINT)


def test_what_can_be_given_up_is_given_up_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as request:
        with pytest.raises(Interrupted), interruptible():
            signal.raise_signal(signal.SIGTERM)
        assert (request.signal, request.at_once) == (signal.SIGTERM, False)
        with pytest.raises(Interrupted), interruptible():
            pytest.fail("it was asked before")
    assert signal.getsignal(signal.SIGTERM) is before
    raise_if_stopped()


def test_what_can_not_is_finished_first() -> None:
    with stop_on_signals():
        signal.raise_signal(signal.SIGINT)
        assert stop_signal() == signal.SIGINT
        with pytest.raises(Interrupted):
            raise_if_stopped()
    assert stop_signal() == 0
