"""This module is the door at which the other processes of a run come to rank 0: whoever has the key is let in, and
nobody else keeps them waiting for long."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any, Self

SECONDS_TO_SPEAK = 10.0
"""A connection that says nothing for so long, or is ended, or has another key, is somebody else's."""


class Door:
    """This listens on a free port until it is closed."""

    def __init__(self, host: str, key: bytes, backlog: int) -> None:
        self._key, self._socket = key, socket.create_server((host, 0), backlog=max(backlog, 8))

    @property
    def port(self) -> int:
        """Returns where it listens."""
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def next(self, seconds: float) -> tuple[Connection, Any] | None:
        """Returns who comes within so many seconds, and the first that it says; None where nobody does who has the
        key."""
        self._socket.settimeout(seconds)
        try:
            found, _ = self._socket.accept()
        except OSError:
            return None
        found.setblocking(True)
        _let_wait(found, SECONDS_TO_SPEAK)
        number = found.detach()
        link = Connection(number)
        try:
            deliver_challenge(link, self._key)
            answer_challenge(link, self._key)
            said = link.recv()
        except (OSError, EOFError, AuthenticationError):
            with suppress(OSError):
                link.close()
            return None
        again = socket.socket(fileno=number)
        _let_wait(again, 0.0)
        again.detach()
        return link, said


def _let_wait(connection: socket.socket, seconds: float) -> None:
    """Bounds each wait for the other side's words; 0: it may take as long as it takes."""
    bound = struct.pack("ll", *divmod(round(1e6 * seconds), 10**6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
