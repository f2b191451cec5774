"""This module keeps a stream of completions that vLLM servers sample: one HTTP request a completion, asked again
elsewhere where a server fails."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from groupwise.engines.common import limit_of, refuse_misfit
from groupwise.engines.stops import Spelling, StopText
from groupwise.engines.vllm_client import ServerError
from groupwise.engines.vllm_servers import Rules, Server, Servers, Weights
from groupwise.errors import UserError
from groupwise.protocols import Stream
from groupwise.seeding import stable_seed
from groupwise.types import Completion, CompletionEvent, Event, Request, Sampling, TokenEvent

WAIT_SECONDS = 0.2  # for news, before Python looks whether it was interrupted
PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class StreamContext:
    """This is what an engine gives its streams to work with."""

    servers: Servers
    rules: Rules
    context_tokens: int
    vocabulary: int
    spelling: Spelling
    version: Callable[[], int]
    """Returns that of the present weights."""
    known: Set[int]
    """Versions that servers were given."""
    renew: Callable[[Server, int], None]
    """Gives a server that began anew, since so many updates, the present weights."""


@dataclass(frozen=True)
class Place:
    """This says which completion of which request is meant."""

    request: int
    index: int


class CompletionCancelled(Exception):  # noqa: N818 - a state
    """This is raised in the thread of a completion that was cancelled."""


class VLLMStream(Stream):
    """This is a ``protocols.Stream`` on servers. Each completion has a seed of its own, which goes with it to another
    server; it is handed over once. A completion that goes on behind forced tokens begins a random stream of its own."""

    def __init__(self, means: StreamContext, sampling: Sampling, every_token: bool) -> None:
        self._means, self._sampling, self._every_token = means, sampling, every_token
        self._count = 0
        self._left: dict[int, set[int]] = {}
        self._open: dict[Place, Any] = {}
        self._news = queue.SimpleQueue[tuple[Place, Completion | BaseException]]()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, request: Request) -> int:
        """Takes a request and returns its number."""
        refuse_misfit(self._count, request, self._means.context_tokens)
        number, self._count = self._count, self._count + 1
        if request.seeds:
            with self._lock:
                self._left[number] = set(range(len(request.seeds)))
                self._pool = self._pool or ThreadPoolExecutor(self._means.rules.concurrent, "vllm")
            for index in range(len(request.seeds)):
                self._pool.submit(self._sample, Place(number, index), request)
        return number

    def events(self) -> Iterator[Event]:
        """Yields completions as servers answer (``protocols.Stream``)."""
        while self._left:
            try:
                place, found = self._news.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                continue
            if not self._awaited(place):
                continue
            if isinstance(found, BaseException):
                self.close()
                raise found
            for token in found.tokens if self._every_token else ():
                yield TokenEvent(place.request, place.index, token)
                if not self._awaited(place):
                    break
            if self._taken(place):
                yield CompletionEvent(place.request, place.index, found)

    def cancel(self, number: int) -> None:
        """Ends what is under way of a request."""
        with self._lock:
            self._left.pop(number, None)
            given_up = [open for place, open in self._open.items() if place.request == number]
        for open in given_up:
            open.close()

    def close(self) -> None:
        """Ends everything; called again, nothing."""
        with self._lock:
            self._left.clear()
            pool, self._pool = self._pool, None
            given_up = list(self._open.values())
        for open in given_up:
            open.close()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _awaited(self, place: Place) -> bool:
        return place.index in self._left.get(place.request, ())

    def _taken(self, place: Place) -> bool:
        """Takes a completion off what is left; False where it is off already."""
        with self._lock:
            if not self._awaited(place):
                return False
            self._left[place.request].discard(place.index)
            if not self._left[place.request]:
                del self._left[place.request]
            return True

    def _sample(self, place: Place, request: Request) -> None:
        """Runs in a thread of the pool: hands over a completion, or why there is none."""
        try:
            self._news.put((place, self._completion(place, request)))
        except CompletionCancelled:
            pass
        except BaseException as error:
            self._news.put((place, error))

    def _completion(self, place: Place, request: Request) -> Completion:
        """Asks one server after the other. Raises UserError where none gives it."""
        means, failed, reasons, wanted = self._means, None, list[str](), 0.0
        rule = self._rule(place, request)
        body = {"token_ids": [*request.tokens, *request.forced], "sampling_params": rule}
        while len(reasons) < means.rules.attempts:
            self._refuse_given(place)
            with means.servers.least_loaded(avoid=failed) as server:
                asked, updates = server.has, server.updates
                try:
                    choice = server.generate(body, lambda open: self._opened(place, open), asked)
                    return self._read(choice, server, asked, updates, rule["max_tokens"])
                except ServerError as error:
                    self._refuse_given(place)
                    reasons.append(str(error))
                    failed, wanted = server, error.retry_seconds
                    if error.status == 404 and asked and asked.name:  # it began anew, without the adapters
                        means.renew(server, updates)
                        continue
                    if 400 <= error.status < 500 and error.status not in (408, 409, 425, 429):
                        raise UserError(f"engine: {error}") from error
                    if not error.status and not server.healthy():
                        means.servers.lose(server, str(error))
                        reasons.pop()  # its loss is no fault of the request
                finally:
                    with self._lock:
                        self._open.pop(place, None)
            if len(reasons) < means.rules.attempts:
                self._pause(place, max(PAUSE_SECONDS * len(reasons), 0.0 if means.servers.several else wanted))
        raise UserError(
            f"engine: a completion failed {len(reasons)} times, the last with: {reasons[-1]}; see the server's log"
        )

    def _pause(self, place: Place, seconds: float) -> None:
        """Waits, unless the completion is given up meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._refuse_given(place)
            threading.Event().wait(min(left, PAUSE_SECONDS))

    def _opened(self, place: Place, open: Any) -> None:
        with self._lock:
            if self._awaited(place):
                self._open[place] = open
                return
        open.close()

    def _refuse_given(self, place: Place) -> None:
        if not self._awaited(place):
            raise CompletionCancelled

    def _rule(self, place: Place, request: Request) -> dict[str, Any]:
        """Returns vLLM's sampling parameters of one completion."""
        sampling, seed = self._sampling, request.seeds[place.index]
        if request.forced:
            seed = stable_seed(seed, len(request.forced))
        return {
            "temperature": sampling.temperature,
            "max_tokens": limit_of(request, sampling, self._means.context_tokens),
            "seed": seed & (2**63 - 1),
            "logprobs": 0,  # of the token that was drawn alone
            "stop_token_ids": list(sampling.stop_tokens),
            "ignore_eos": True,  # what ends a completion is said here, not in the model's own files
            "detokenize": bool(sampling.stop_strings),
            "stop": list(sampling.stop_strings) or None,
            "skip_special_tokens": False,
        }

    def _read(
        self, choice: dict[str, Any], server: Server, asked: Weights | None, updates: int, most: int
    ) -> Completion:
        """Returns a choice as a completion. Raises ServerError for one that is not whole, or of other weights."""
        tokens = tuple(choice["token_ids"])
        logprobs = tuple(float(each["logprob"]) for each in choice["logprobs"]["content"])
        finished = choice.get("finish_reason") == "stop"
        if choice.get("finish_reason") not in ("stop", "length"):
            raise ServerError(server.url, f"a completion ended with {choice.get('finish_reason')!r}", 500)
        strange = next((each for each in tokens if not 0 <= each < self._means.vocabulary), None)
        if strange is not None:
            words = f"a completion with token {strange} of a vocabulary of {self._means.vocabulary}"
            raise ServerError(server.url, words, 500)
        if len(tokens) > most or (not finished and len(tokens) < most):
            raise ServerError(server.url, f"a completion of {len(tokens)} tokens, where {most} were asked for", 500)
        tokens, ended = self._cut(tokens)
        logprobs = logprobs[: len(tokens)]
        if not tokens:
            raise ServerError(server.url, "a completion without a token", 500)
        if finished and not ended and not self._sampling.stop_strings:
            raise ServerError(server.url, "a completion that ended, without a token that ends one", 500)
        try:
            spans = self._spans(choice, server, asked, updates, len(tokens))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ServerError(server.url, "a completion whose weight_versions are no spans", 500) from None
        finished = finished or ended
        if len(spans) == 1:
            return Completion(tokens, logprobs, finished, spans[0][0])
        return Completion(tokens, logprobs, finished, min(each for each, _ in spans), versions=spans)

    def _cut(self, tokens: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
        """Ends a completion with the token that completes a stop string or is a stop token, as all our engines do, and
        says whether there is one."""
        text = StopText(self._sampling, self._means.spelling)
        for place, token in enumerate(tokens):
            if text.ends_with(token) or token in self._sampling.stop_tokens:
                return tokens[: place + 1], True
        return tokens, False

    def _spans(
        self, choice: dict[str, Any], server: Server, asked: Weights | None, updates: int, length: int
    ) -> tuple[tuple[int, int], ...]:
        """Returns which weights drew which tokens. Raises ServerError where the server has others than it was given:
        it began anew, and is given them again first."""
        version = asked.version if asked else self._means.version()
        said = choice.get("weight_versions")
        if not said or not server.newest:
            return ((version, length),)
        spans, old = list[tuple[int, int]](), list[str]()
        for each in said:
            number = str(each["version"])
            end = min(int(each["end"]), length)
            if not number.isdecimal() or int(number) not in self._means.known:
                old.append(number)
            elif end > (spans[-1][1] if spans else 0):  # others drew nothing of it
                spans.append((int(number), end))
        if old or not spans or spans[-1][1] != length:
            self._means.renew(server, updates)
            raise ServerError(server.url, f"sampled from weights {', '.join(old)!r} that it was not given", 500)
        if asked and asked.name:  # the versions are those of what is frozen
            return ((version, length),)
        merged = [span for place, span in enumerate(spans) if place + 1 == len(spans) or span[0] != spans[place + 1][0]]
        return tuple(merged)
