"""A real server on this machine, over a small model, and a client of the standard library."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from groupwise.commands.models import open_model
from groupwise.serving.door import Door
from groupwise.serving.episodes import EpisodeFile
from groupwise.serving.http_server import Server

TOKEN = "a-token-of-tests"


class Client:
    """Asks a server, a connection a request."""

    def __init__(self, server: Server, out: Path | None) -> None:
        self.server, self.door, self.out = server, server.door, out

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=600)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status, and what JSON the body is."""
        status, data, _ = self.raw(method, path, body, headers)
        return status, json.loads(data)

    def raw(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        connection = self.connect()
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {TOKEN}", **{k.replace("_", "-"): v for k, v in (headers or {}).items()}}
        try:
            connection.request(method, path, data, given)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.headers)
        finally:
            connection.close()

    def chat(self, words: Any, session: str = "", **options: Any) -> dict[str, Any]:
        """The answer to a user's words, or to messages."""
        messages = [{"role": "user", "content": words}] if isinstance(words, str) else words
        path = f"/v1/sessions/{session}/chat/completions" if session else "/v1/chat/completions"
        status, answer = self.send("POST", path, {"messages": messages, "max_tokens": 12, **options})
        assert status == 200, answer
        return answer

    def stream(self, path: str, body: Any) -> list[dict[str, Any]]:
        """The pieces of an answer."""
        status, data, headers = self.raw("POST", path, {**body, "stream": True})
        assert status == 200, data
        assert headers["Content-Type"] == "text/event-stream"
        *events, done, rest = data.decode().split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]

    def episodes(self) -> list[dict[str, Any]]:
        assert self.out is not None
        return [json.loads(line) for line in self.out.read_text().splitlines()]


@pytest.fixture(scope="session")
def opened(tiny_model: Path) -> Any:
    return open_model(str(tiny_model), device="cpu")


@contextmanager
def serving(engine: Any, renderer: Any, out: Path | None = None, **options: Any) -> Iterator[Client]:
    door = Door(engine, renderer, "tiny", EpisodeFile(out) if out else None, **options)
    server = Server(door, TOKEN, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Client(server, out)
    finally:
        server.shutdown()
        server.server_close()
        door.close()
        thread.join()


@pytest.fixture(scope="session")
def client(opened: Any) -> Iterator[Client]:
    """A door without sessions of its own; every test asks for what it needs."""
    with serving(*opened) as found:
        yield found


@pytest.fixture
def serve(opened: Any, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """``serve(**options of Door)``: a server of one test, whose episodes go to a file."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(**options: Any) -> Client:
            renderer = options.pop("renderer", opened[1])
            return stack.enter_context(serving(opened[0], renderer, tmp_path / "episodes.jsonl", **options))

        yield start
