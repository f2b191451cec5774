"""One ``generate``: who waits, who runs in which lane, and what each has said."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from groupwise.engines.cache import Room
from groupwise.engines.lanes import Lanes, Seat
from groupwise.engines.paths import WholePrompts
from groupwise.engines.sampler import ids_of, random_stream
from groupwise.engines.stops import StopText
from groupwise.networks.packing import Packing
from groupwise.networks.trunk import Trunk
from groupwise.types import Completion, Request, Sampling

PREFILL_TOKENS = 16_384  # of prompts computed in one pass
DRAWN_ROWS = 128  # first tokens drawn in one pass: a row of float64 probabilities is as long as the vocabulary

Ids = tuple[int, ...]
Done = tuple[int, int, Completion]


@dataclass
class Stored:
    """A prompt in the cache."""

    start: int
    logits: Tensor | None = None
    """``[V]`` behind its last token, until its last completion has begun."""


@dataclass(eq=False)
class Running:
    """A completion."""

    owner: tuple[int, int]
    prompt: bytes
    """Its key."""
    seed: int
    seat: Seat
    limit: int
    text: StopText | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    support: list[Ids] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True)
class Said:
    """What the device drew for some completions, perhaps still on its way to the host."""

    running: tuple[Running, ...]
    values: Tensor  # [2, n] float64 on the CPU: tokens, log-probabilities
    arrived: torch.cuda.Event | None
    kept: Tensor | None  # [n, V] bool


@dataclass(frozen=True)
class Asked:
    requests: Sequence[Request]
    sampling: Sampling
    on_token: Callable[[int, int, int], None] | None
    version: int


class Batch:
    """``lag``: steps that the device may be ahead of what the host has read. No id depends on it."""

    def __init__(self, trunk: Trunk, prompts: WholePrompts, lanes: Lanes, asked: Asked, context: int, lag: int) -> None:
        self.trunk, self.prompts, self.lanes, self.context, self.lag = trunk, prompts, lanes, context, lag
        self.asked, self.sampling = asked, asked.sampling
        owners = [(n, i) for n, request in enumerate(asked.requests) for i in range(len(request.seeds))]
        first: dict[bytes, int] = {}
        for number, request in enumerate(asked.requests):
            first.setdefault(request.key, number)
        # Equal prompts one after the other: then one that waits never needs the room of one that waits behind it.
        self.waiting = deque(sorted(owners, key=lambda owner: first[asked.requests[owner[0]].key]))
        self.unbegun = Counter(asked.requests[number].key for number, _ in owners)
        self.unended = Counter(self.unbegun)
        self.rows = list(range(lanes.cache.rows))[::-1]  # free ones, the lowest taken first
        self.room = Room(lanes.cache.prompt_tokens)
        self.stored: dict[bytes, Stored] = {}
        self.running: list[Running] = []  # by lane; those that ended too, until others take their lanes
        self.unheard: deque[Said] = deque()

    def run(self) -> Iterator[Done]:
        while self.waiting or self.unheard or self.running:
            # Closed before the yield: whoever consumes this must not find itself in inference mode.
            with torch.inference_mode():
                if self.waiting and self.rows:
                    self.admit()
                if self.running:
                    kept = self.lanes.step(self.sampling)
                    self.tell(self.running, self.lanes.said[:, : len(self.running)], kept)
                done: list[Done] = []
                while len(self.unheard) > (self.lag if self.running else 0):
                    done += self.hear(self.unheard.popleft())
                if done:
                    self.leave()
            yield from done

    def admit(self) -> None:
        """Seats those who wait where there are rows and room; each new prompt among theirs is computed once."""
        fresh, new = self.seat()
        part: list[Request] = []
        for number, request in enumerate(new):
            part.append(request)
            if sum(len(each.tokens) for each in part) >= PREFILL_TOKENS or number == len(new) - 1:
                self.prefill(part)
                part = []
        if fresh:
            parts = [fresh[at : at + DRAWN_ROWS] for at in range(0, len(fresh), DRAWN_ROWS)]
            self.arrange(fresh, torch.cat([self.begin(some) for some in parts]))

    def seat(self) -> tuple[list[Running], list[Request]]:
        """Those who get a row now, and requests whose prompts were not in the cache."""
        fresh: list[Running] = []
        new: list[Request] = []
        while self.waiting and self.rows:
            number, index = self.waiting[0]
            request = self.asked.requests[number]
            prompt, length = request.key, len(request.tokens)
            if prompt not in self.stored:
                start = self.room.take(length)
                if start is None:
                    break
                self.stored[prompt] = Stored(start)
                new.append(request)
            self.waiting.popleft()
            seat = Seat(self.rows.pop(), self.stored[prompt].start, length)
            limit = min(self.sampling.max_tokens, self.context - length)
            text = StopText(self.sampling) if self.sampling.stop_strings else None
            fresh.append(Running((number, index), prompt, request.seeds[index], seat, limit, text))
        return fresh, new

    def prefill(self, requests: list[Request]) -> None:
        """Computes prompts side by side; their keys and values go to the stretches that were taken for them."""
        cache, parts = self.lanes.cache, self.trunk.blueprint
        keys = [request.key for request in requests]
        packing = Packing.of([(request.tokens, ()) for request in requests], self.lanes.device, keys)
        stretches = [torch.arange(len(request.tokens)) + self.stored[request.key].start for request in requests]
        where, whole = self.lanes.send(torch.cat(stretches)), self.prompts(packing)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.keys[layer][where], cache.values[layer][where] = k, v
            return whole(q, k, v, parts.layers[layer].window)

        hidden = self.trunk.hidden(packing.tokens, packing.positions, attend)
        ends = self.lanes.send(torch.tensor(packing.ends))
        for prompt, logits in zip(keys, parts.logits(hidden[ends]), strict=True):
            self.stored[prompt].logits = logits

    def begin(self, fresh: Sequence[Running]) -> Tensor:
        """``[n]`` first tokens, drawn from what stands behind the prompts."""
        lanes = self.lanes
        streams = torch.zeros(len(fresh), lanes.uniforms.shape[1], dtype=torch.float64)
        behind: list[Tensor] = []
        for stream, one in zip(streams, fresh, strict=True):
            stream[: one.limit] = random_stream(one.seed, one.limit)
            stored = self.stored[one.prompt]
            assert stored.logits is not None
            behind.append(stored.logits)
            self.unbegun[one.prompt] -= 1
            if not self.unbegun[one.prompt]:
                stored.logits = None
        rows = lanes.send(torch.tensor([one.seat.row for one in fresh]))
        lanes.uniforms[rows] = lanes.send(streams)
        found = lanes.decoder.pick(torch.stack(behind), lanes.uniforms[rows, 0], self.sampling)
        self.tell(fresh, torch.stack((found.tokens.double(), found.logprobs.double())), found.kept)
        return found.tokens

    def tell(self, running: Sequence[Running], values: Tensor, kept: Tensor | None) -> None:
        """Sends to the host what was drawn, and does not wait for it."""
        if values.device.type != "cuda":
            self.unheard.append(Said(tuple(running), values.clone(), None, kept))
            return
        here = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        here.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self.unheard.append(Said(tuple(running), here, arrived, kept))

    def hear(self, said: Said) -> list[Done]:
        """Takes down what was drawn; returns the completions that end with it."""
        if said.arrived is not None:
            said.arrived.synchronize()
        tokens, logprobs = said.values[0].long().tolist(), said.values[1].tolist()
        supports = [] if said.kept is None else ids_of(said.kept)
        done: list[Done] = []
        for lane, (one, token, logprob) in enumerate(zip(said.running, tokens, logprobs, strict=True)):
            if one.ended:
                continue
            one.tokens.append(token)
            one.logprobs.append(logprob)
            one.support.extend(supports[lane : lane + 1])
            if self.asked.on_token:
                self.asked.on_token(*one.owner, token)
            finished = token in self.sampling.stop_tokens or (one.text is not None and one.text.ends_with(token))
            if finished or len(one.tokens) == one.limit:
                done.append(self.end(one, finished))
        return done

    def end(self, one: Running, finished: bool) -> Done:
        one.ended = True
        self.rows.append(one.seat.row)
        self.unended[one.prompt] -= 1
        if not self.unended[one.prompt]:
            self.room.give(self.stored.pop(one.prompt).start, one.seat.length)
        support = tuple(one.support) or None
        return *one.owner, Completion(tuple(one.tokens), tuple(one.logprobs), finished, self.asked.version, support)

    def leave(self) -> None:
        """Lanes of completions that ended go on unread where fewer would cost the same, or others will take them."""
        left = sum(not one.ended for one in self.running)
        if not left:
            self.running = []
        elif not self.waiting and self.lanes.width(left) < self.lanes.width(len(self.running)):
            self.arrange((), self.lanes.tokens[:0])

    def arrange(self, fresh: Sequence[Running], first: Tensor) -> None:
        """Gives lanes to those who run and to ``fresh``, whose first tokens are ``first`` ``[n]``."""
        lanes = [(lane, one) for lane, one in enumerate(self.running) if not one.ended]
        lanes += [(self.lanes.cache.rows + number, one) for number, one in enumerate(fresh)]
        lanes.sort(key=lambda pair: pair[1].seat.start)
        self.running = [one for _, one in lanes]
        drawn = max(len(one.tokens) for one in self.running) + len(self.unheard)
        self.lanes.arrange([one.seat for one in self.running], [source for source, _ in lanes], first, drawn - 1)
