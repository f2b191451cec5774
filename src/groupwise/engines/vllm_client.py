"""This module speaks HTTP with one vLLM server: one request a call, with a deadline that holds and an answer of bounded
size. Standard library only; nothing of vLLM is imported."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from groupwise.errors import UserError
from groupwise.output.printable import visible

GENERATE = "/inference/v1/generate"
MOST_BYTES = 256 << 20
"""Of an answer: a context of a million tokens with their log-probabilities is a quarter of it."""
SHOWN_LETTERS = 300
MOST_RETRY_SECONDS = 3600.0


class ServerError(Exception):
    """This error says what a server said, or that it said nothing."""

    def __init__(self, url: str, reason: str, status: int = 0, retry_seconds: float = 0.0) -> None:
        super().__init__(f"{url}: {reason}")
        self.status = status
        """The HTTP status; 0: no answer came."""
        self.retry_seconds = retry_seconds
        """After so long it may be asked again (Retry-After); 0: it does not say."""


@dataclass(frozen=True)
class Address:
    """This is where a server listens."""

    url: str
    secure: bool
    host: str
    port: int
    path: str

    @staticmethod
    def of(url: str) -> Address:
        """Reads a URL. Raises UserError for one that is no plain http or https address."""
        expected = "expected http://HOST:PORT or https://HOST:PORT, without a name, a password or a query"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UserError(f"engine.urls: {visible(url)!r}: {error}; {expected}") from None
        plain = parts.username is None and parts.password is None and not parts.query and not parts.fragment
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain or not url.isprintable():
            raise UserError(f"engine.urls: seen {visible(url.rpartition('@')[2])!r}; {expected}")
        if port == 0 or not parts.path.isascii() or not _is_name(parts.hostname):
            raise UserError(f"engine.urls: seen {visible(url)!r}; {expected}, with a port from 1 and a plain path")
        secure = parts.scheme == "https"
        return Address(url.rstrip("/"), secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"))

    @property
    def place(self) -> tuple[str, int, str]:
        """Returns what two spellings of one address have in common."""
        return self.host.rstrip("."), self.port, self.path


def _is_name(host: str) -> bool:
    """Says whether a host can be looked up at all."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return " " not in host


@dataclass(frozen=True)
class Client:
    """A client asks one server. Redirections are not followed; a key is told to this server alone."""

    address: Address
    timeout_seconds: float
    key: str = ""

    def get(self, path: str, timeout: float | None = None) -> Any:
        """Returns the JSON, or the text, that stands at ``path``. Raises ServerError."""
        return self._call("GET", path, None, timeout, None)

    def post(
        self, path: str, body: Any = None, timeout: float | None = None, opened: Callable[[Any], None] | None = None
    ) -> Any:
        """Sends JSON and returns the answer's. Raises ServerError. ``opened`` is given the connection, whose
        ``close`` gives the call up."""
        return self._call("POST", path, {} if body is None else body, timeout, opened)

    def _call(
        self, method: str, path: str, body: Any, timeout: float | None, opened: Callable[[Any], None] | None
    ) -> Any:
        seconds = self.timeout_seconds if timeout is None else timeout
        make = http.client.HTTPSConnection if self.address.secure else http.client.HTTPConnection
        connection = make(self.address.host, self.address.port, timeout=min(seconds, 3600.0))
        began, hang_up = time.monotonic(), HangUp(connection)
        timer = threading.Timer(seconds, hang_up.close)  # a socket's own timeout begins anew with every byte
        timer.daemon = True
        try:
            connection.connect()
            timer.start()
            if opened:
                opened(hang_up)
            headers = {"Content-Type": "application/json", "Connection": "close"}
            if self.key:
                headers["Authorization"] = f"Bearer {self.key}"
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, self.address.path + path, data, headers)
            answer = connection.getresponse()
            said = answer.read(MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            late = isinstance(error, TimeoutError) or time.monotonic() - began >= seconds
            reason = (
                f"no answer to {path} in {seconds:g} s" if late else f"{type(error).__name__}: {visible(str(error))}"
            )
            raise ServerError(self.address.url, reason) from error
        finally:
            timer.cancel()
            connection.close()
        return self._read(path, answer.status, said, answer.getheader("Retry-After") or "")

    def _read(self, path: str, status: int, said: bytes, later: str) -> Any:
        url = self.address.url
        if status != 200:
            text = visible(" ".join(said[:4000].decode("utf-8", "replace").split()))
            if self.key:
                text = text.replace(self.key, "***")
            raise ServerError(url, f"{path} answered {status}: {text[:SHOWN_LETTERS]}", status, seconds_of(later))
        if len(said) > MOST_BYTES:
            raise ServerError(url, f"{path} answered more than {MOST_BYTES >> 20} MiB")
        try:
            return json.loads(said) if said.strip() else None
        except (ValueError, RecursionError):
            raise ServerError(url, f"{path}: the answer is not JSON, or was cut short") from None


def seconds_of(later: str) -> float:
    """Reads Retry-After: seconds, or a date. Returns 0 where it says neither, and an hour at most."""
    try:
        seconds = float(later)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(later).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(seconds, MOST_RETRY_SECONDS) if seconds > 0 else 0.0


class HangUp:
    """This ends a connection from another thread than the one that reads it."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Ends it; whoever reads it gets an error."""
        connected = self._connection.sock
        if connected is not None:
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)
