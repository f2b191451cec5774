"""A stop is asked of one run: of what runs inside its ``with``, in its own thread, and of nothing else."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import socket
import threading

import pytest

from groupwise.training import interrupts
from groupwise.training.interrupts import (
    Interrupted,
    Stopped,
    StopRequest,
    end_deaf,
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


def test_a_process_that_waits_in_compiled_code_ends_though_it_cannot_hear(capfd: pytest.CaptureFixture[str]) -> None:
    heard, told = socket.socketpair()
    ended = queue.SimpleQueue[int]()
    watch = threading.Thread(target=end_deaf, args=(heard, StopRequest(), ended.put, 0.1))
    watch.start()
    with told:
        told.send(bytes([signal.SIGTERM]))
        assert ended.get(timeout=60) == 128 + signal.SIGTERM
    watch.join()
    heard.close()
    assert "asked to stop by SIGTERM while it waited" in capfd.readouterr().err


def test_a_second_signal_ends_it_at_once() -> None:
    heard, told = socket.socketpair()
    ended = queue.SimpleQueue[int]()
    with heard:
        with told:
            told.send(bytes([signal.SIGCHLD, signal.SIGINT, signal.SIGINT]))
        end_deaf(heard, StopRequest(), ended.put, idle=600)
    assert ended.get_nowait() == 128 + signal.SIGINT


def test_a_process_that_has_heard_or_computes_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who computes hears the signal later; then nothing is left to do here."""
    request, reads, worked = StopRequest(), threading.Event(), itertools.count()

    def process_time() -> float:
        if next(worked) > 20:
            reads.set()
        return next(worked) * 10.0

    monkeypatch.setattr(interrupts.time, "process_time", process_time)
    heard, told = socket.socketpair()
    ended = queue.SimpleQueue[int]()
    watch = threading.Thread(target=end_deaf, args=(heard, request, ended.put, 0.01))
    watch.start()
    with told:
        told.send(bytes([signal.SIGTERM]))
        assert reads.wait(60)
        request.signal = signal.SIGTERM
        told.send(bytes([signal.SIGTERM]))
    watch.join()
    heard.close()
    assert ended.empty()


def test_a_child_does_not_tell_its_parent_of_its_own_signals() -> None:
    with stop_on_signals():
        child = os.fork()
        if not child:
            os._exit(int(signal.set_wakeup_fd(-1) != -1))
        assert os.waitpid(child, 0)[1] == 0
        mine = signal.set_wakeup_fd(-1)
        assert mine >= 0
        signal.set_wakeup_fd(mine)
    assert signal.set_wakeup_fd(-1) == -1


def test_it_ends_while_children_live_that_were_forked_meanwhile() -> None:
    """As processes of environments do, which end after it: they have all that was open open too."""
    read, write = os.pipe()
    with stop_on_signals():
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)  # until the parent goes on
            os._exit(0)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    os.close(read)
