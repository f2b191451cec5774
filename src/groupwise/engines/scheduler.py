"""The scheduler runs completions together: who waits, who runs in which lane, and what each has said."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from groupwise.engines.backends import WholePrompts
from groupwise.engines.decode_step import KVLocation, Lanes
from groupwise.engines.kv_cache import KVAllocator
from groupwise.engines.sampler import ids_of, random_stream
from groupwise.engines.stops import Spelling, StopText
from groupwise.networks.packing import Packing
from groupwise.networks.trunk import Trunk
from groupwise.types import Completion, CompletionEvent, Event, Request, Sampling, TokenEvent

PREFILL_TOKENS = 16_384  # of prompts computed in one pass
DRAWN_ROWS = 128  # first tokens drawn in one pass: a row of float64 probabilities is as long as the vocabulary

Ids = tuple[int, ...]


@dataclass(frozen=True)
class WaitingCompletion:
    """This completion was asked for and waits for room in the batch."""

    owner: tuple[int, int]
    """The number of its request, and its index in it."""
    request: Request
    limit: int

    @property
    def prompt(self) -> Ids:
        """Returns what is computed before anything is drawn."""
        return self.request.tokens + self.request.forced

    @property
    def key(self) -> bytes:
        """Returns a key that is equal where the prompt is the same to compute."""
        return self.request.prefix_key

    @property
    def seed(self) -> int:
        """Returns the seed of its random stream."""
        return self.request.seeds[self.owner[1]]


@dataclass(frozen=True)
class BatchOptions:
    """These options say how all completions of a batch are drawn and told."""

    sampling: Sampling
    spelling: Spelling
    every_token: bool
    version: int


@dataclass
class CachedPrompt:
    """This is a prompt that stands in the cache."""

    start: int
    logits: Tensor | None = None
    """``[V]`` behind its last token, until its last completion has begun."""


@dataclass(eq=False)
class RunningCompletion:
    """This is a completion that has a lane."""

    ticket: WaitingCompletion
    seat: KVLocation
    text: StopText | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    support: list[Ids] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True)
class TokenTransfer:
    """A transfer holds what the device drew for some completions, perhaps still on its way to the host."""

    running: tuple[RunningCompletion, ...]
    values: Tensor  # [2, n] float64 on the CPU: tokens, log-probabilities
    arrived: torch.cuda.Event | None
    kept: Tensor | None  # [n, V] bool


class Batch:
    """A batch runs completions together. ``lag``: steps that the device may be ahead of what the host has read. No id
    depends on it."""

    def __init__(
        self,
        trunk: Trunk,
        prompts: WholePrompts,
        lanes: Lanes,
        options: BatchOptions,
        tickets: Sequence[WaitingCompletion],
        lag: int,
    ) -> None:
        self.trunk, self.prompts, self.lanes, self.options, self.lag = trunk, prompts, lanes, options, lag
        self.sampling = options.sampling
        first: dict[bytes, int] = {}
        for number, ticket in enumerate(tickets):
            first.setdefault(ticket.key, number)
        # Equal prompts one after the other: then one that waits never needs the room of one that waits behind it.
        self.waiting = deque(sorted(tickets, key=lambda ticket: first[ticket.key]))
        self.unbegun = Counter(ticket.key for ticket in tickets)
        self.unended = Counter(self.unbegun)
        self.rows = list(range(lanes.cache.rows))[::-1]  # free ones, the lowest taken first
        self.room = KVAllocator(lanes.cache.prompt_tokens)
        self.stored: dict[bytes, CachedPrompt] = {}
        self.running: list[RunningCompletion] = []  # by lane; those that ended too, until others take their lanes
        self.unheard: deque[TokenTransfer] = deque()
        self.cancelled: set[int] = set()

    @property
    def is_busy(self) -> bool:
        """Says whether anything is left to do."""
        return bool(self.waiting or self.unheard or self.running)

    def step(self) -> list[Event]:
        """Draws a token for all that run, and returns what was heard meanwhile."""
        events: list[Event] = []
        with torch.inference_mode():
            if self.waiting and self.rows:
                self.admit()
            if self.running:
                kept = self.lanes.step(self.sampling)
                self.tell(self.running, self.lanes.said[:, : len(self.running)], kept)
            while len(self.unheard) > (self.lag if self.running else 0):
                events += self.hear(self.unheard.popleft())
            if any(one.ended for one in self.running):
                self.leave()
        return events

    def has_room(self, ticket: WaitingCompletion) -> bool:
        """Says whether it can wait here: the cache has a place for its prompt and for as many tokens as it may have."""
        cache, key = self.lanes.cache, ticket.key
        is_over = key in self.stored and not self.unbegun[key]  # nothing stands behind it any more
        return not is_over and len(ticket.prompt) <= cache.prompt_tokens and ticket.limit <= cache.slab

    def join(self, ticket: WaitingCompletion) -> None:
        """Lets one more completion wait, behind those of its prompt."""
        places = [place for place, other in enumerate(self.waiting) if other.key == ticket.key]
        self.waiting.insert(places[-1] + 1 if places else len(self.waiting), ticket)
        self.unbegun[ticket.key] += 1
        self.unended[ticket.key] += 1

    def cancel(self, number: int) -> None:
        """Ends all completions of a request; nothing is heard of them any more."""
        self.cancelled.add(number)
        for ticket in [ticket for ticket in self.waiting if ticket.owner[0] == number]:
            self.waiting.remove(ticket)
            self.unbegun[ticket.key] -= 1
            self._give_back(ticket)
        for one in self.running:
            if one.ticket.owner[0] == number and not one.ended:
                self.end(one, False)

    def admit(self) -> None:
        """Seats those who wait where there are rows and room; each new prompt among theirs is computed once."""
        fresh, new = self.seat()
        part: list[WaitingCompletion] = []
        for number, ticket in enumerate(new):
            part.append(ticket)
            if sum(len(ticket.prompt) for ticket in part) >= PREFILL_TOKENS or number == len(new) - 1:
                self.prefill(part)
                part = []
        if fresh:
            parts = [fresh[at : at + DRAWN_ROWS] for at in range(0, len(fresh), DRAWN_ROWS)]
            self.arrange(fresh, torch.cat([self.begin(some) for some in parts]))

    def seat(self) -> tuple[list[RunningCompletion], list[WaitingCompletion]]:
        """Returns those who get a row now, and of those whose prompts are not in the cache one a prompt."""
        fresh: list[RunningCompletion] = []
        new: list[WaitingCompletion] = []
        while self.waiting and self.rows:
            ticket = self.waiting[0]
            length = len(ticket.prompt)
            if ticket.key not in self.stored:
                start = self.room.take(length)
                if start is None:
                    break
                self.stored[ticket.key] = CachedPrompt(start)
                new.append(ticket)
            self.waiting.popleft()
            seat = KVLocation(self.rows.pop(), self.stored[ticket.key].start, length)
            text = StopText(self.sampling, self.options.spelling) if self.sampling.stop_strings else None
            fresh.append(RunningCompletion(ticket, seat, text))
        return fresh, new

    def prefill(self, tickets: list[WaitingCompletion]) -> None:
        """Computes prompts side by side; their keys and values go to the stretches that were taken for them."""
        cache, parts = self.lanes.cache, self.trunk.blueprint
        packing = Packing.of([(one.prompt, ()) for one in tickets], self.lanes.device, [one.key for one in tickets])
        stretches = [torch.arange(len(one.prompt)) + self.stored[one.key].start for one in tickets]
        where, whole = self.lanes.send(torch.cat(stretches)), self.prompts(packing)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (x.to(cache.keys.dtype) for x in (q, k, v))
            cache.keys[layer][where], cache.values[layer][where] = k, v
            return whole(q, k, v, parts.layers[layer].window)

        hidden = self.trunk.hidden(packing.tokens, packing.positions, attend)
        ends = self.lanes.send(torch.tensor(packing.ends))
        for ticket, logits in zip(tickets, parts.logits(hidden[ends]), strict=True):
            self.stored[ticket.key].logits = logits

    def begin(self, fresh: Sequence[RunningCompletion]) -> Tensor:
        """Returns ``[n]`` first tokens, drawn from what stands behind the prompts."""
        lanes = self.lanes
        streams = torch.zeros(len(fresh), lanes.uniforms.shape[1], dtype=torch.float64)
        behind: list[Tensor] = []
        for stream, one in zip(streams, fresh, strict=True):
            limit, skipped = one.ticket.limit, len(one.ticket.request.forced)
            stream[:limit] = random_stream(one.ticket.seed, skipped + limit)[skipped:]
            stored = self.stored[one.ticket.key]
            assert stored.logits is not None
            behind.append(stored.logits)
            self.unbegun[one.ticket.key] -= 1
            if not self.unbegun[one.ticket.key]:
                stored.logits = None
        rows = lanes.send(torch.tensor([one.seat.row for one in fresh]))
        lanes.uniforms[rows] = lanes.send(streams)
        found = lanes.decoder.pick(torch.stack(behind), lanes.uniforms[rows, 0], self.sampling)
        self.tell(fresh, torch.stack((found.tokens.double(), found.logprobs.double())), found.kept)
        return found.tokens

    def tell(self, running: Sequence[RunningCompletion], values: Tensor, kept: Tensor | None) -> None:
        """Sends to the host what was drawn, and does not wait for it."""
        if values.device.type != "cuda":
            self.unheard.append(TokenTransfer(tuple(running), values.clone(), None, kept))
            return
        here = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        here.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self.unheard.append(TokenTransfer(tuple(running), here, arrived, kept))

    def hear(self, said: TokenTransfer) -> list[Event]:
        """Takes down what was drawn; returns it where every token is told, and the completions that end with it."""
        if said.arrived is not None:
            said.arrived.synchronize()
        tokens, logprobs = said.values[0].long().tolist(), said.values[1].tolist()
        supports = [] if said.kept is None else ids_of(said.kept)
        events: list[Event] = []
        for lane, (one, token, logprob) in enumerate(zip(said.running, tokens, logprobs, strict=True)):
            if one.ended:
                continue
            one.tokens.append(token)
            one.logprobs.append(logprob)
            one.support.extend(supports[lane : lane + 1])
            if self.options.every_token:
                events.append(TokenEvent(*one.ticket.owner, token))
            finished = token in self.sampling.stop_tokens or (one.text is not None and one.text.ends_with(token))
            if finished or len(one.tokens) == one.ticket.limit:
                events.append(self.end(one, finished))
        return events

    def end(self, one: RunningCompletion, finished: bool) -> CompletionEvent:
        """Gives back what a completion has, and tells of it."""
        one.ended = True
        self.rows.append(one.seat.row)
        self._give_back(one.ticket)
        said = tuple(one.tokens), tuple(one.logprobs)
        completion = Completion(*said, finished, self.options.version, tuple(one.support) or None)
        return CompletionEvent(*one.ticket.owner, completion)

    def _give_back(self, ticket: WaitingCompletion) -> None:
        """One completion of a prompt is over, begun or not."""
        self.unended[ticket.key] -= 1
        if not self.unended[ticket.key] and ticket.key in self.stored:
            self.room.give(self.stored.pop(ticket.key).start, len(ticket.prompt))

    def leave(self) -> None:
        """Drops lanes of completions that ended; they go on unread where fewer would cost the same, or others will take
        them."""
        left = sum(not one.ended for one in self.running)
        if not left:
            self.running = []
        elif not self.waiting and self.lanes.width(left) < self.lanes.width(len(self.running)):
            self.arrange((), self.lanes.tokens[:0])

    def arrange(self, fresh: Sequence[RunningCompletion], first: Tensor) -> None:
        """Gives lanes to those who run and to ``fresh``, whose first tokens are ``first`` ``[n]``."""
        lanes = [(lane, one) for lane, one in enumerate(self.running) if not one.ended]
        lanes += [(self.lanes.cache.rows + number, one) for number, one in enumerate(fresh)]
        lanes.sort(key=lambda pair: pair[1].seat.start)
        self.running = [one for _, one in lanes]
        drawn = max(len(one.tokens) for one in self.running) + len(self.unheard)
        self.lanes.arrange([one.seat for one in self.running], [source for source, _ in lanes], first, drawn - 1)
