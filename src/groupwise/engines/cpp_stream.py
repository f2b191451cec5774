"""A stream keeps completions under way in compiled code: what is handed over, what is heard, and what is done when
memory runs out."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import c_uint64
from dataclasses import dataclass, replace
from typing import Any

from groupwise.engines.common import refuse_misfit
from groupwise.engines.stops import Spelling
from groupwise.engines.weight_table import RopeTables, WeightTable
from groupwise.kernels.decode import Batch, Decoder, Requests, Rule, Rules, halves, ints, texts
from groupwise.networks import Blueprint
from groupwise.protocols import Stream
from groupwise.types import Completion, CompletionEvent, Event, Request, Sampling, TokenEvent

WAIT_SECONDS = 0.2  # for news, before Python looks whether it was interrupted
HANDED_OVER = 32  # requests that wait for no others
NOBODY = -1, -1


@dataclass(frozen=True)
class StreamContext:
    """This is what an engine gives its streams to work with."""

    parts: Blueprint
    decoder: Decoder
    context_tokens: int
    max_rows: int
    threads: int
    spelling: Spelling
    note: Callable[[str], None]

    def refuse(self, number: int, request: Request) -> None:
        """Raises ValueError for a request that fills the context, or that has ids beyond the vocabulary."""
        refuse_misfit(number, request, self.context_tokens)
        ids, vocabulary = request.tokens + request.forced, self.parts.embedding.num_embeddings
        if not 0 <= min(ids) <= max(ids) < vocabulary:
            seen = f"ids from {min(ids)} to {max(ids)}"
            raise ValueError(f"request {number}: {seen}; the model knows 0 to {vocabulary - 1}")


class CppStream(Stream):
    """This is a ``protocols.Stream`` in compiled code. Requests may be submitted and cancelled from other threads than
    that which reads events; ``close`` belongs to the one that reads. What that one asks for is handed over when it
    reads on, all together.

    A completion of a request with ``keep`` stays in the cache: a request that ``follows`` it computes only what is new,
    and has the bits of one that begins anew with the same prompt and the same ``forced``. (One whose *prompt* is longer
    adds numbers up in another order, and agrees to rounding.)

    Where memory runs out, what is not done is sampled again with half as many completions side by side: the same ids.
    ``events`` raises MemoryError where it does not suffice for one.
    """

    def __init__(self, means: StreamContext, version: int, sampling: Sampling, every_token: bool) -> None:
        self._means, self._sampling, self._every_token = means, sampling, every_token
        self._version, self._rows = version, means.max_rows
        self._count, self._positions = 0, 0
        self._left: dict[int, OpenRequest] = {}
        self._unsent: list[int] = []
        self._over: list[int] = []
        """Requests that the compiled code has yet to hear are cancelled; some of what is unsent may follow them."""
        self._reader = 0
        self._weights: WeightTable | None = None
        self._batch: Batch | None = None
        self._lock = threading.RLock()
        self._ran_out = False
        self._heard: deque[Any] = deque()
        """What has come and was not read yet."""

    def submit(self, request: Request) -> int:
        """Takes a request and returns its number. Raises ValueError for one that does not fit."""
        with self._lock:
            number = self._count
            self._means.refuse(number, request)
            self._count += 1
            if request.seeds:
                self._left[number] = OpenRequest(request)
                self._unsent.append(number)
                if threading.get_ident() != self._reader:
                    self._hand_over()
            return number

    def events(self) -> Iterator[Event]:
        """Yields tokens and completions as they come (``protocols.Stream``)."""
        while self._left:
            try:
                batch, heard = self._hear()
            except MemoryError:
                self._halve()
                continue
            self._heard = deque(heard)
            while self._heard:
                one = self._heard.popleft()
                left = self._left.get(one.request)
                event = left and self._read(one, left)
                if event:
                    yield event
                    if self._batch is not batch:  # closed: what was heard is gone
                        return
                    if len(self._unsent) >= HANDED_OVER:  # while much is read here, that can begin
                        with self._lock:
                            self._hand_over()

    def has_next(self) -> bool:
        """Says whether more has come than was read."""
        return any(one.request in self._left for one in self._heard)

    def cancel(self, number: int) -> None:
        """Ends what is under way of a request."""
        with self._lock:
            self._left.pop(number, None)
            if number in self._unsent:
                self._unsent.remove(number)
            elif self._batch is not None:
                self._over.append(number)
                if threading.get_ident() != self._reader:
                    self._hand_over()

    def held(self) -> int:
        """Returns how many pages of sixteen positions prompts and completions have in the cache, kept ones too."""
        with self._lock:
            self._hand_over()
            return self._batch.held() if self._batch is not None else 0

    def close(self) -> None:
        """Ends everything; called again, nothing."""
        with self._lock:
            self._left.clear()
            self._unsent.clear()
            self._end()

    def _end(self) -> None:
        batch, self._batch = self._batch, None
        if batch is not None:
            batch.close()
        self._weights, self._ran_out = None, False
        self._over.clear()
        self._heard.clear()

    def _hear(self) -> tuple[Batch | None, list[Any]]:
        """A batch, and what is new in it."""
        with self._lock:
            self._reader = threading.get_ident()
            if not self._left:
                return None, []
            batch = self._batch or self._open()
            self._hand_over()
            if self._ran_out:
                raise MemoryError("out of memory in sampling")
        return batch, batch.poll(WAIT_SECONDS)[0]

    def _hand_over(self) -> None:
        """Tells a batch that is open what is new. Where memory does not suffice, who reads events does what is to be
        done."""
        if self._batch is None or self._ran_out:
            return
        try:
            if self._unsent:
                self._send(self._batch)
        except MemoryError:
            self._ran_out = True
            return
        self._batch.cancel(self._over)
        self._over.clear()

    def _open(self) -> Batch:
        """Begins a batch on the weights as they are, with positions for all that waits."""
        means, self._positions = self._means, self._longest()
        self._weights = WeightTable(means.parts, self._positions)
        spelled = means.spelling() if self._sampling.stop_strings else ()
        numbers = {"threads": means.threads, "max_rows": self._rows, "context": means.context_tokens}
        rules = as_rules(self._sampling, spelled, every_token=self._every_token, **numbers)
        self._batch = means.decoder.begin(self._weights.structure, rules)
        return self._batch

    def _longest(self) -> int:
        """Returns how many positions what waits may come to."""
        asked = [self._left[number].request for number in self._unsent]
        longest = max(len(request.tokens) + len(request.forced) for request in asked)
        return min(longest + self._sampling.max_tokens, self._means.context_tokens)

    def _send(self, batch: Batch) -> None:
        """Gives the batch all requests that were submitted and not sent yet."""
        longest = self._longest()
        if longest > self._positions:
            self._positions = min(max(longest, 2 * self._positions), self._means.context_tokens)
            tables = RopeTables(self._means.parts, self._positions)
            batch.reach(self._positions, tables.cosines, tables.sines)
        batch.submit(as_requests({number: self._left[number].rest() for number in self._unsent}, self._sampling))
        self._unsent.clear()

    def _halve(self) -> None:
        """Begins anew with what is not done, at most half as much of it side by side; what was kept of others is
        let go, so that the last one has room, too. Raises MemoryError where one row was too much."""
        with self._lock:
            self._end()
            if self._rows == 1:
                raise
            rows = max(1, min(self._rows, sum(left.some for left in self._left.values())) // 2)
            self._rows, self._unsent = rows, list(self._left)
        self._means.note(
            f"engine: memory ran out while sampling; what is not done is sampled again, at most {rows} "
            "completions side by side, which changes no completion"
        )

    def _read(self, one: Any, left: OpenRequest) -> Event | None:
        """What happened; None where it was told before. A completion is then no more a part of what is left."""
        number, index = one.request, left.sent[one.index]
        if not one.logprobs:
            return TokenEvent(number, index, one.token) if left.tell(index) else None
        support = None
        if one.kept:
            ids, ends = one.kept_ids[: one.kept], itertools.accumulate(one.kept_sizes[: one.length])
            support = tuple(tuple(ids[start:end]) for start, end in itertools.pairwise([0, *ends]))
        said = tuple(one.tokens[: one.length]), tuple(one.logprobs[: one.length])
        left.done(index)
        if not left.some:
            self._left.pop(number, None)
        return CompletionEvent(number, index, Completion(*said, bool(one.finished), self._version, support))


class OpenRequest:
    """An open request says what of it is still to be sampled, and how many tokens of it were told already."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.sent: list[int] = []
        """The index in ``request`` of each completion that was handed over last."""
        self._open = set(range(len(request.seeds)))
        self._told = dict.fromkeys(self._open, 0)
        self._again: dict[int, int] = {}

    @property
    def some(self) -> int:
        """Counts the completions that are still to be sampled."""
        return len(self._open)

    def rest(self) -> Request:
        """The request for what is left, from its beginning."""
        self._again = {index: count for index, count in self._told.items() if count}
        self.sent = sorted(self._open)
        if len(self.sent) == len(self.request.seeds):
            return self.request
        return replace(self.request, seeds=tuple(self.request.seeds[index] for index in self.sent))

    def tell(self, index: int) -> bool:
        """Counts a token; False where it was told before."""
        if self._again and self._again.get(index):
            self._again[index] -= 1
            return False
        self._told[index] += 1
        return True

    def done(self, index: int) -> None:
        """Takes a completion off what is left."""
        self._open.discard(index)


def as_rules(sampling: Sampling, spelled: Sequence[bytes], **numbers: int) -> Rules:
    """Returns how a batch is drawn, for compiled code. ``numbers``: threads, max_rows, context, every_token."""
    stops = [text.encode() for text in sampling.stop_strings]
    return Rules(
        rule=Rule(sampling.max_tokens, sampling.top_k, sampling.temperature, sampling.top_p, sampling.min_p),
        stop_tokens=len(sampling.stop_tokens),
        stop_strings=len(stops),
        pieces=len(spelled),
        stop_ids=ints(sampling.stop_tokens),
        stops=texts(stops),
        stop_sizes=ints([len(stop) for stop in stops]),
        piece_bytes=texts(spelled),
        piece_sizes=ints([len(piece) for piece in spelled]),
        **numbers,
    )


def as_requests(requests: Mapping[int, Request], sampling: Sampling) -> Requests:
    """Returns requests by their numbers, for compiled code."""
    asked = list(requests.values())
    seeds = [half for request in asked for seed in request.seeds for half in halves(seed)]
    most = [sampling.max_tokens if request.max_tokens is None else request.max_tokens for request in asked]
    return Requests(
        count=len(asked),
        numbers=ints(list(requests)),
        prompts=ints([token for request in asked for token in request.tokens]),
        prompt_sizes=ints([len(request.tokens) for request in asked]),
        forced=ints([token for request in asked for token in request.forced]),
        forced_sizes=ints([len(request.forced) for request in asked]),
        group_sizes=ints([len(request.seeds) for request in asked]),
        seeds=(c_uint64 * max(1, len(seeds)))(*seeds),
        most=ints(most),
        keeps=ints([request.keep for request in asked]),
        follows=ints([place for request in asked for place in request.follows or NOBODY]),
    )
