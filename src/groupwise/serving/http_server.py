"""This module speaks HTTP: who may ask, what is read of it, and how answers are sent."""

from __future__ import annotations

import hmac
import json
import select
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from groupwise.serving.door import Call, ClientGone, Door
from groupwise.serving.refusal import Refusal
from groupwise.serving.request import read_request

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_BODY_BYTES = 8 << 20
MOST_CONNECTIONS = 256
READ_SECONDS = 30.0  # for the next bytes of a client, and for it to take the next of ours
HUNG_UP = (ConnectionError, TimeoutError, ClientGone)
Route = Callable[[Any, str | None], None]


class Server(ThreadingHTTPServer):
    """A server on one address, with a thread a connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, door: Door, token: str, host: str, port: int) -> None:
        self.door, self.token = door, token
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((host, port), Handler)
        self.is_local = host in LOOPBACK

    @property
    def port(self) -> int:
        """Returns the port, which the system has chosen where 0 was asked for."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Binds as the standard library does, without asking who this machine is, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Takes a connection, where there are not too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no fault of ours; anything else is shown."""
        traceback.print_exc(limit=-3)


class Handler(BaseHTTPRequestHandler):
    """This handler answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = READ_SECONDS
    server: Server

    def version_string(self) -> str:
        """Returns a name without versions, which are nobody's business."""
        return "groupwise"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: what clients ask is theirs."""

    def handle(self) -> None:
        """Answers until the client hangs up."""
        try:
            super().handle()
        except HUNG_UP:
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors of HTTP itself, in the same form."""
        self.close_connection = True
        self._send(code, Refusal(code, message or self.responses.get(code, ("error",))[0]).as_json())

    def do_GET(self) -> None:
        """Answers requests that only look: for the models that there are."""
        self._answer({"/models": self._models, f"/models/{self.server.door.model}": self._model})

    def do_POST(self) -> None:
        """Answers what draws, and what rewards."""
        self._answer({"/chat/completions": self._chat, "/completions": self._text, "/reward": self._reward})

    def do_DELETE(self) -> None:
        """Drops a session and what was drawn in it."""
        self._answer({"": self._drop})

    def _answer(self, routes: dict[str, Route]) -> None:
        try:
            self._refuse_strangers()
            path, session = self._place()
            route = routes.get(unquote(path))
            if route is None or (path in ("/reward", "") and session is None):
                raise Refusal(404, f"there is no {self.command} {self.path[:200]}")
            route(self._body() if self.command == "POST" else None, session)
        except Refusal as refusal:
            self.close_connection = True  # its body may be unread
            self._send(refusal.status, refusal.as_json())
        except HUNG_UP:
            self.close_connection = True
        except Exception as error:
            traceback.print_exc()
            self.close_connection = True
            self._send(500, Refusal(500, f"{type(error).__name__} on the server, which says more").as_json())

    def _refuse_strangers(self) -> None:
        """Raises Refusal for a page of a browser that found its way here by another name, and for one without the
        token."""
        host = _split(f"//{self.headers.get('Host', '')}").hostname
        if self.server.is_local and host not in LOOPBACK:
            raise Refusal(403, f"the header Host says {str(host)[:80]}; expected 127.0.0.1 or localhost")
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self.server.token.encode()):
            raise Refusal(401, "expected the header Authorization: Bearer TOKEN, with the token that was printed")

    def _place(self) -> tuple[str, str | None]:
        """The path behind ``/v1``, and the session that it or a header names."""
        path = _split(self.path).path.rstrip("/")
        named = self.headers.get("X-Session")
        if not path.startswith("/v1/"):
            raise Refusal(404, f"there is no {self.path[:200]}; paths begin with /v1")
        path = path.removeprefix("/v1")
        if path.startswith("/sessions/"):
            name, slash, rest = path.removeprefix("/sessions/").partition("/")
            if named is not None and named != unquote(name):
                raise Refusal(400, "the header X-Session and the path name two sessions; expected one")
            return slash + rest, unquote(name)
        return path, named

    def _body(self) -> Any:
        length = self.headers.get("Content-Length")
        if self.headers.get("Transfer-Encoding") or length is None or not length.isdecimal():
            raise Refusal(411, "expected the header Content-Length")
        if len(length) > 12 or int(length) > MOST_BODY_BYTES:
            raise Refusal(413, f"the body has {length[:20]} bytes; at most {MOST_BODY_BYTES}")
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise ClientGone
        try:
            return json.loads(data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, f"the body is not JSON: {str(error)[:200]}") from None

    def _models(self, body: Any, session: str | None) -> None:
        self._send(200, self.server.door.models())

    def _model(self, body: Any, session: str | None) -> None:
        self._send(200, self.server.door.models()["data"][0])

    def _chat(self, body: Any, session: str | None) -> None:
        self._draw(body, session, is_chat=True)

    def _text(self, body: Any, session: str | None) -> None:
        self._draw(body, session, is_chat=False)

    def _reward(self, body: Any, session: str | None) -> None:
        assert session is not None
        self._send(200, self.server.door.reward(session, body))

    def _drop(self, body: Any, session: str | None) -> None:
        assert session is not None
        self._send(200, self.server.door.drop(session))

    def _draw(self, body: Any, session: str | None, is_chat: bool) -> None:
        door = self.server.door
        asked = read_request(body, is_chat, door.model if door.rules is None else "")
        with closing(door.call(asked, session)) as call:  # who hangs up may do so before a first event
            headers = {"X-Ignored": ", ".join(call.asked.ignored)} if call.asked.ignored else {}
            if not asked.streams:
                return self._send(200, call.whole(self._is_gone), headers)
            return self._stream(call, headers)

    def _stream(self, call: Call, headers: dict[str, str]) -> None:
        self._head(200, {"Content-Type": "text/event-stream", "Cache-Control": "no-store", **headers})
        try:
            with closing(call.pieces(self._is_gone)) as pieces:  # at once, and not when an error is forgotten
                for piece in pieces:
                    self._event(json.dumps(piece))
            self._event("[DONE]")
        except Refusal as refusal:
            self._event(json.dumps(refusal.as_json()))

    def _event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})})
        self.wfile.write(data)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        """Sends what stands before an answer. One of no known length ends with the connection."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _is_gone(self) -> bool:
        """Says whether the client has hung up."""
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        try:
            return bool(poll.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise Refusal(400, f"{url[:80]!r} is no address: {error}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
