"""The servers of an engine: which is asked next, which is lost, and how each takes new weights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groupwise.engines.vllm_client import GENERATE, Client, ServerError
from groupwise.errors import UserError

MODEL = "policy"
HEALTH_SECONDS = 10.0
UPDATE_ROUTE = "/update_weight_version"


@dataclass(frozen=True)
class Rules:
    """This says how an engine uses its servers; ``VLLMServers`` explains each."""

    weights: Path
    concurrent: int = 64
    in_flight: str = "drain"
    attempts: int = 5
    largest_gap: float = 0.0


@dataclass
class Server:
    """A server with what is known of it."""

    client: Client
    model: str = MODEL
    context_tokens: int = 0
    under_way: int = 0
    lost: str = ""
    """Why it is asked no more; empty: it is."""
    newest: str = ""
    """The version that it was given last, as it says it."""
    updates: int = 0
    """How often it was given weights."""
    told: dict[str, Any] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    """Held while it is given weights."""

    @property
    def url(self) -> str:
        """Returns where it listens."""
        return self.client.address.url

    def healthy(self) -> bool:
        """Asks whether it lives."""
        try:
            self.client.get("/health", min(HEALTH_SECONDS, self.client.timeout_seconds))
        except ServerError:
            return False
        return True

    def generate(self, body: dict[str, Any], opened: Callable[[Any], None] | None = None) -> dict[str, Any]:
        """Samples one completion and returns its choice. Raises ServerError, also for an answer of another form."""
        answer = self.client.post(GENERATE, {"model": self.model, **body}, opened=opened)
        try:
            choice: dict[str, Any] = answer["choices"][0]
            tokens = choice["token_ids"]
            logprobs = [each["logprob"] for each in choice["logprobs"]["content"]]
            numbers = all(isinstance(each, int | float) and each == each for each in logprobs)
            whole = len(tokens) == len(logprobs) and all(type(token) is int for token in tokens) and numbers
        except (KeyError, IndexError, TypeError):
            whole = False
        if not whole:
            raise ServerError(self.url, f"{GENERATE}: the answer lacks token ids or a log-probability for each")
        return choice

    def update(self, place: Path, version: int) -> None:
        """Makes it sample from the weights in ``place``; what is under way goes on with them. Raises ServerError."""
        with self.lock:
            post = self.client.post
            post("/pause?mode=keep")
            try:
                post("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(place)}})
                post("/reset_prefix_cache")
                self._tell(version)
                self.updates += 1
            finally:
                post("/resume")

    def _tell(self, version: int) -> None:
        try:
            self.client.post(UPDATE_ROUTE, {"new_version": str(version)})
        except ServerError as error:
            if error.status != 404:  # older servers know no versions
                raise
        else:
            self.newest = str(version)


class Servers:
    """All servers of an engine. The one with least under way is asked; one that is lost comes back with an update."""

    def __init__(self, servers: list[Server], note: Callable[[str], None]) -> None:
        self.all, self.note = servers, note
        self._lock = threading.Condition()
        self._closed = False

    @contextmanager
    def least_loaded(self, avoid: Server | None = None) -> Iterator[Server]:
        """Takes the server with least under way, another than ``avoid`` where there is one; waits while weights are
        exchanged with nothing under way. Raises UserError where all are lost."""
        with self._lock:
            self._lock.wait_for(lambda: not self._closed, timeout=3600.0)
            living = [server for server in self.all if not server.lost]
            if not living:
                raise UserError(f"engine: every server is lost: {self.losses()}")
            server = min(living, key=lambda each: (each is avoid, each.under_way))
            server.under_way += 1
        try:
            yield server
        finally:
            with self._lock:
                server.under_way -= 1
                self._lock.notify_all()

    @contextmanager
    def drained(self) -> Iterator[None]:
        """Holds back new requests, and waits until none is under way."""
        with self._lock:
            self._closed = True
            self._lock.wait_for(lambda: not any(server.under_way for server in self.all), timeout=3600.0)
        try:
            yield
        finally:
            with self._lock:
                self._closed = False
                self._lock.notify_all()

    def lose(self, server: Server, reason: str) -> None:
        """Asks a server no more until the next update."""
        with self._lock:
            first, server.lost = not server.lost, reason
        if first:
            left = sum(not each.lost for each in self.all)
            self.note(f"engine: lost {reason}; {left} of {len(self.all)} servers left, which take over what it had")

    def losses(self) -> str:
        """Says what happened to each lost server."""
        return "; ".join(server.lost for server in self.all if server.lost)

    def update(self, place: Path, version: int) -> None:
        """Gives every server that lives the weights in ``place``. Raises UserError where none takes them."""
        for server in self.all:
            was = server.lost
            try:
                server.update(place, version)
            except ServerError as error:
                with suppress(ServerError):
                    server.client.post("/resume", timeout=HEALTH_SECONDS)
                if server.healthy():
                    raise UserError(
                        f"engine: {error}; the server lives and does not take version {version} of the weights; it "
                        f"must be able to read {place}, and be started with VLLM_SERVER_DEV_MODE=1 (groupwise serve "
                        "MODEL --vllm does that)"
                    ) from error
                self.lose(server, str(error))
                continue
            server.lost = ""
            if was:
                self.note(f"engine: {server.url} is back, with version {version} of the weights")
        if all(server.lost for server in self.all):
            raise UserError(f"engine: every server is lost: {self.losses()}")
