"""The servers of an engine: which is asked next, which is lost, and how each takes new weights."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groupwise.engines.vllm_client import GENERATE, Client, ServerError
from groupwise.errors import UserError

MODEL = "policy"
LOAD_ADAPTER, UNLOAD_ADAPTER = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
HEALTH_SECONDS = 10.0
ROUNDED = 1e-3
"""A sure token's log-probability may be above 0 by rounding."""
NONE = -9999.0
"""So vLLM writes a log-probability that it has not."""
TOKEN = "token_id:"
"""So vLLM writes, beside a log-probability, whose it is."""
UPDATE_ROUTE = "/update_weight_version"


@dataclass(frozen=True)
class Rules:
    """This says how an engine uses its servers; ``VLLMServers`` explains each."""

    weights: Path
    concurrent: int = 64
    in_flight: str = "drain"
    attempts: int = 5
    largest_gap: float = 0.0
    transfer: str = "folder"


@dataclass(frozen=True)
class Weights:
    """These are the weights of a version: a published folder, or what sends them, and with adapters their folder."""

    version: int
    place: Path | None
    place_version: int
    """What the servers call the folder: that of the adapters goes by their name."""
    adapter: Path | None = None
    send: Callable[[Client, bool], None] | None = None
    """In place of a folder: gives one server the weights, by a new link where it began anew."""

    @property
    def name(self) -> str:
        """Returns how a request asks for the adapters; empty: there are none."""
        return f"{MODEL}-{self.version}" if self.adapter else ""


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
    has: Weights | None = None
    """What it was given last."""
    adapter_rank: int = 0
    """The largest rank of adapters that it takes. 0: none."""
    naming: Counter[str] = field(default_factory=Counter, repr=False)
    """How many requests under way name which adapters; those that are loaded have an entry."""
    names: threading.Lock = field(default_factory=threading.Lock, repr=False)
    told: dict[str, Any] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    """Held while it is given weights."""

    @property
    def url(self) -> str:
        """Returns the address at which the server listens."""
        return self.client.address.url

    def healthy(self) -> bool:
        """Asks the server whether it lives; one that does not answer in time does not."""
        try:
            self.client.get("/health", min(HEALTH_SECONDS, self.client.timeout_seconds))
        except ServerError:
            return False
        return True

    def generate(
        self, body: dict[str, Any], opened: Callable[[Any], None] | None = None, weights: Weights | None = None
    ) -> dict[str, Any]:
        """Samples one completion and returns its choice; ``weights``: whose adapters, where not the newest. Raises
        ServerError, also for an answer of another form."""
        asked = weights or self.has
        with self._named(asked.name if asked else "") as name:
            answer = self.client.post(GENERATE, {"model": name or self.model, **body}, opened=opened)
        try:
            [choice] = answer["choices"]
            content = choice["logprobs"]["content"]
            whole = is_whole(choice["token_ids"], [each["logprob"] for each in content])
            whole = whole and names_its_tokens(choice["token_ids"], content)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            whole = False
        if not whole:
            words = f"{GENERATE}: the answer is no choice of token ids with a log-probability of at most 0 for each"
            raise ServerError(self.url, words, status=500)
        return dict(choice)

    @contextmanager
    def _named(self, name: str) -> Iterator[str]:
        """Keeps the adapters of that name loaded meanwhile."""
        with self.names:
            self.naming[name] += 1
        try:
            yield name
        finally:
            with self.names:
                self.naming[name] -= 1

    def update(self, weights: Weights, again: bool = False) -> None:
        """Makes it sample from these weights. What is under way goes on with a new folder's, and ends with the adapters
        that it began with. ``again``: also where it should have that folder. Raises ServerError."""
        with self.lock:
            has, anew = self.has, again or bool(self.lost) or self.has is None
            if anew or has is None or (has.place_version, has.place) != (weights.place_version, weights.place):
                self._reload(weights, anew)
            if weights.adapter:
                self._adapt(weights)
            self.has, self.updates = weights, self.updates + 1

    def _reload(self, weights: Weights, anew: bool) -> None:
        post = self.client.post
        post("/pause?mode=keep")
        try:
            if weights.send:
                weights.send(self.client, anew)
            else:
                post("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(weights.place)}})
            post("/reset_prefix_cache")
            self._tell(weights.place_version)
        finally:
            post("/resume")

    def _adapt(self, weights: Weights) -> None:
        """Loads adapters by a name of their own, and unloads those that no request names any more."""
        body = {"lora_name": weights.name, "lora_path": str(weights.adapter), "load_inplace": True}
        self.client.post(LOAD_ADAPTER, body)
        newest = {weights.name, self.has.name if self.has else "", ""}
        with self.names:
            self.naming[weights.name] += 0
            unnamed = [name for name, count in self.naming.items() if not count and name not in newest]
            for name in unnamed:
                del self.naming[name]
        for name in unnamed:
            with suppress(ServerError):  # a server that began anew has none
                self.client.post(UNLOAD_ADAPTER, {"lora_name": name})

    def _tell(self, version: int) -> None:
        try:
            self.client.post(UPDATE_ROUTE, {"new_version": str(version)})
        except ServerError as error:
            if error.status != 404:  # older servers know no versions
                raise
        else:
            self.newest = str(version)


def is_whole(tokens: Any, logprobs: Sequence[Any]) -> bool:
    """Says whether an answer holds ids, and a logarithm of a probability for each."""
    numbers = all(type(each) in (int, float) and NONE < each <= ROUNDED for each in logprobs)
    return (
        type(tokens) is list and len(tokens) == len(logprobs) and all(type(each) is int for each in tokens) and numbers
    )


def names_its_tokens(tokens: Sequence[int], content: Sequence[Mapping[str, Any]]) -> bool:
    """Says whether each log-probability is of its token, where it is said whose it is."""
    said = [each.get("token") for each in content]
    return all(
        not (isinstance(name, str) and name.startswith(TOKEN)) or name == f"{TOKEN}{token}"
        for token, name in zip(tokens, said, strict=True)
    )


class Servers:
    """This holds all servers of an engine. The one with least under way is asked; one that is lost comes back with an
    update."""

    def __init__(self, servers: list[Server], note: Callable[[str], None]) -> None:
        self.all, self.note = servers, note
        self._lock = threading.Condition()
        self._closed = False

    @property
    def several(self) -> bool:
        """Says whether more than one server is asked."""
        return sum(not server.lost for server in self.all) > 1

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

    def update(self, weights: Weights, again: bool = False) -> None:
        """Gives every server that lives these weights. Raises UserError where none takes them."""
        for server in self.all:
            was = server.lost
            try:
                server.update(weights, again)
            except ServerError as error:
                with suppress(ServerError):
                    server.client.post("/resume", timeout=HEALTH_SECONDS)
                if server.healthy():
                    place = weights.adapter or weights.place
                    can = f"be able to read {place}, and " if place else ""
                    how = "" if place else " --transfer nccl"
                    raise UserError(
                        f"engine: {error}; the server lives and does not take version {weights.version} of the "
                        f"weights; it must {can}be started with VLLM_SERVER_DEV_MODE=1 (groupwise serve MODEL "
                        f"--vllm{how} does that)"
                    ) from error
                self.lose(server, str(error))
                continue
            server.lost = ""
            if was:
                self.note(f"engine: {server.url} is back, with version {weights.version} of the weights")
        if all(server.lost for server in self.all):
            raise UserError(f"engine: every server is lost: {self.losses()}")
