"""How rank 0 waits for the others, and hears that one of them was asked to stop."""

from __future__ import annotations

import pickle
import signal
import threading
from multiprocessing import Pipe
from typing import Any

import pytest

from groupwise.learners import ranks
from groupwise.learners.blame import RankLost
from groupwise.learning.stop_request import StopRequest, stop_scope


@pytest.fixture
def rank_0(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Without processes: what it hears comes from the test."""
    made: Any = object.__new__(ranks.Ranks)
    made.count, made.timeout, made.lost, made.processes = 2, 60.0, "", {}
    monkeypatch.setattr(ranks, "POLL_SECONDS", 0.01)
    return made


def test_rank_0_that_was_asked_to_stop_waits_for_nobody_for_long(rank_0: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "STOP_SECONDS", 0.0)
    ours, theirs = Pipe()
    with ours, theirs, stop_scope(StopRequest(signal.SIGTERM)):
        with pytest.raises(RankLost, match=r"stopped by SIGTERM, without the step under way: rank 1 .* continues it"):
            rank_0._answer(1, ours)
        assert rank_0.lost


def test_what_does_not_answer_in_time_is_named(rank_0: Any) -> None:
    rank_0.timeout = 0.01
    ours, theirs = Pipe()
    with ours, theirs, pytest.raises(RankLost, match=r"rank 1 did not answer within 0\.01 s"):
        rank_0._answer(1, ours)


@pytest.mark.parametrize(("own", "told", "then"), [(0, 15, 15), (2, 15, 2), (0, 0, 0)])
def test_a_stop_of_one_process_is_a_stop_of_all(rank_0: Any, own: int, told: int, then: int) -> None:
    """The first signal counts, whoever got it."""
    ours, theirs = Pipe()
    request = StopRequest(own)
    with ours, theirs, stop_scope(request):
        theirs.send_bytes(pickle.dumps(("done", 3, told)))
        assert rank_0._answer(1, ours) == 3
    assert request.signal == then


LONG = b"a" * (8 << 20)


def test_a_process_that_reads_nothing_does_not_hold_rank_0_for_ever(rank_0: Any) -> None:
    """As one that was stopped in the midst: its socket is full before a step's rollouts are told."""
    rank_0.timeout = 0.1
    ours, theirs = Pipe()
    with ours, theirs:
        rank_0._links = {1: ours}
        with pytest.raises(RankLost, match=r"rank 1 did not answer within 0\.1 s"):
            rank_0._send(LONG)
        theirs.close()


def test_a_long_message_arrives(rank_0: Any) -> None:
    ours, theirs = Pipe()
    with ours, theirs:
        rank_0._links = {1: ours}
        heard: list[bytes] = []
        reader = threading.Thread(target=lambda: heard.append(theirs.recv_bytes()))
        reader.start()
        rank_0._send(LONG)
        reader.join(60)
    assert heard == [LONG]


def test_a_long_message_to_one_that_is_gone_is_told(rank_0: Any) -> None:
    ours, theirs = Pipe()
    with ours:
        theirs.close()
        rank_0._links = {1: ours}
        with pytest.raises(OSError, match=r"[Bb]roken pipe|reset"):
            rank_0._send(LONG)
