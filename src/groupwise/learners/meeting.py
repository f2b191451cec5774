"""This module is the door at which the other processes of a run come to rank 0, and how long messages go to them:
whoever has the key is let in, and nobody keeps rank 0 waiting for ever."""

from __future__ import annotations

import socket
import struct
import threading
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


class Sending:
    """This sends a long message in a thread of its own."""

    def __init__(self, link: Connection, data: bytes) -> None:
        self.error: OSError | TypeError | None = None
        self._link, self._data = link, data
        self._thread = threading.Thread(target=self._send, name="tell", daemon=True)
        self._thread.start()

    def _send(self) -> None:
        try:
            self._link.send_bytes(self._data)
        except (OSError, TypeError) as error:  # the latter where it is closed meanwhile
            self.error = error

    def ended(self, seconds: float) -> bool:
        """Waits for so long at most, and says whether it is over."""
        self._thread.join(seconds)
        return not self._thread.is_alive()


def _let_wait(connection: socket.socket, seconds: float) -> None:
    """Bounds each wait for the other side's words; 0: it may take as long as it takes."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), 0))
