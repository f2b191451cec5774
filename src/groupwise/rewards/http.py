"""This module sends one JSON request with a deadline that holds, whatever the other side does. It needs the standard
library only."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

from groupwise.output.masking import MASK, masked

Reply = Any
"""Plain JSON."""

REPLY_BYTES = 4 << 20
SHOWN_LETTERS = 200
READ_LETTERS = 20_000
SECRET_LETTERS = 8
REFUSALS = (401, 403, 404)
PASSING = (408, 409, 425, 429)


class Unreachable(Exception):  # noqa: N818 - it says what is the case
    """This error says that there is no connection."""


class UnusableReply(Exception):  # noqa: N818
    """The server replied with something else than what was asked for."""

    def __init__(self, reason: str, by_server: bool = False, may_pass: bool = True) -> None:
        super().__init__(reason)
        self.by_server = by_server
        """It wants another key, path or model: no request of this kind will do better."""
        self.may_pass = may_pass
        """The same request may do better later."""


def post_json(address: str, body: Any, headers: Mapping[str, str], deadline: float) -> Reply:
    """Sends ``body`` and returns the reply's JSON, before ``deadline`` (``time.monotonic``).

    Raises TimeoutError at the deadline, also where the server goes on sending; Unreachable where there is no
    connection or it breaks; UnusableReply for a status other than 200, and for a reply that is not JSON or longer than
    4 MiB. Redirections are not followed. No header is part of any message, not even where the server says it back.
    """
    secrets = tuple(
        word for value in headers.values() for word in (value, *value.split()) if len(word) >= SECRET_LETTERS
    )
    parts = urlsplit(address)
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("no reply in time")
    secure = parts.scheme == "https"
    make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = make(parts.hostname or "", parts.port, timeout=remaining)
    try:
        connection.connect()
        status, data = _exchange(connection, parts.path, json.dumps(body).encode(), headers, deadline)
    except TimeoutError as error:
        raise TimeoutError("no reply in time") from error
    except (OSError, ssl.SSLError, http.client.HTTPException) as error:
        if time.monotonic() >= deadline:
            raise TimeoutError("no reply in time") from error
        broken = isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError)
        reason = f"{type(error).__name__}: {_shown(str(error), secrets)}"
        raise (UnusableReply(reason) if broken else Unreachable(reason)) from error
    finally:
        connection.close()
    return _read(status, data, secrets)


def _exchange(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: Mapping[str, str], deadline: float
) -> tuple[int, bytes]:
    """A socket's own timeout begins anew with every byte; a timer ends the connection at the deadline."""
    guarded = connection.sock
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _hang_up, [guarded])
    timer.daemon = True
    timer.start()
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        data = response.read(REPLY_BYTES + 1)
        if time.monotonic() >= deadline:
            raise TimeoutError
        return response.status, data
    finally:
        timer.cancel()


def _hang_up(connected: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)  # not TLS's own, which a reading thread would trip over


def _shown(text: str, secrets: Sequence[str]) -> str:
    """Returns of what a server says what may be shown: without control characters and without our key, in any letters
    and as a URL or base64 spells it, however much of it the cut would leave."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    for secret in secrets:
        encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
        for spelled in (secret, quote(secret, safe=""), encoded):
            text = re.sub(re.escape(spelled), MASK, text, flags=re.IGNORECASE)
    return masked(text)[:SHOWN_LETTERS]


def _read(status: int, data: bytes, secrets: Sequence[str] = ()) -> Reply:
    if status != 200:
        reason = f"answered {status}: {_shown(data[:READ_LETTERS].decode('utf-8', 'replace'), secrets)}"
        raise UnusableReply(reason, by_server=status in REFUSALS, may_pass=status >= 500 or status in PASSING)
    if len(data) > REPLY_BYTES:
        raise UnusableReply(f"the reply is longer than {REPLY_BYTES >> 20} MiB", may_pass=False)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnusableReply("the reply is not JSON") from error
