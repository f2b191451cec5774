"""Who comes to rank 0's door, and who else knocks there."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from typing import Any

import pytest

from groupwise.learners import meeting
from groupwise.learners.meeting import Door

KEY = b"k" * 32


def comes(port: int, key: bytes, *said: Any) -> None:
    try:
        with Client(("127.0.0.1", port), authkey=key) as link:
            for each in said:
                link.send(each)
            link.recv()
    except (AuthenticationError, OSError, EOFError):
        return


def scans(port: int, *_: Any) -> None:
    socket.create_connection(("127.0.0.1", port)).close()


def speaks_http(port: int, *_: Any) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.settimeout(60)
        connection.recv(9999)


def met(door: Door) -> Any:
    return next(found for _ in range(99) if (found := door.next(5.0)))


@pytest.mark.parametrize("other", [scans, speaks_http, lambda port, *_: comes(port, b"wrong" * 7, "hello")])
def test_a_stranger_is_not_let_in_and_keeps_nobody_out(other: Callable[..., None]) -> None:
    with Door("127.0.0.1", KEY, 1) as door:
        stranger = threading.Thread(target=other, args=(door.port,), daemon=True)
        stranger.start()
        stranger.join(0.1)
        friend = threading.Thread(target=comes, args=(door.port, KEY, (1, {"torch": "2"})), daemon=True)
        friend.start()
        link, said = met(door)
        assert said == (1, {"torch": "2"})
        link.send("over")
        friend.join(60)
        link.close()


def test_one_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "SECONDS_TO_SPEAK", 0.2)
    with Door("127.0.0.1", KEY, 1) as door, socket.create_connection(("127.0.0.1", door.port)):
        assert door.next(5.0) is None
        assert door.next(0.05) is None


def test_one_that_is_let_in_may_be_silent_for_as_long_as_it_likes() -> None:
    """Sampling takes long: the bound of the meeting does not stay."""
    with Door("127.0.0.1", KEY, 1) as door:
        friend = threading.Thread(target=comes, args=(door.port, KEY, "here"), daemon=True)
        friend.start()
        link, said = met(door)
        assert said == "here"
        with socket.socket(fileno=os.dup(link.fileno())) as same:
            assert same.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)
        link.send("over")
        friend.join(60)
        link.close()
