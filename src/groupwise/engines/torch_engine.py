"""This is the engine in torch, on any device and in any precision: continuous batching over one preallocated cache.

A step is admit → step → hear → arrange. A group's prompt is computed once and stands in the cache once; a finished
completion leaves at once, and the next that waits takes its place. On a GPU a step is one launch of a CUDA graph, and
the host reads what a step drew while the device computes the next: a completion that ended is cut where it ended.

What a request forces is computed with its prompt, whether it ``follows`` another or not: nothing is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.engines.backends import DecodeBackend, fastest_backend
from groupwise.engines.common import limit_of, refuse_misfit, take_weights
from groupwise.engines.decode_step import Lanes
from groupwise.engines.graphs import Graphs
from groupwise.engines.kv_cache import Cache
from groupwise.engines.sampler import narrows
from groupwise.engines.scheduler import Batch, BatchOptions, WaitingCompletion
from groupwise.engines.stops import Spelling, no_spelling
from groupwise.networks import Blueprint
from groupwise.networks.context import stated_context
from groupwise.networks.trunk import Trunk
from groupwise.output.counting import counted
from groupwise.protocols import RolloutEngine, Stream
from groupwise.types import Event, Request, Sampling

USED = 0.7
"""Share of a GPU's free memory that a cache may take; where more would be needed, fewer rows run side by side."""
KEPT = 0.1
"""A cache up to this share of a GPU's memory, and the graphs on it, stay for the next ``generate``, which then records
nothing; a larger one is given back, so that the learner has the memory."""


class TorchEngine(RolloutEngine):
    """Samples from the families of ``networks.blueprint``; ``how`` says which way it decodes and ``notes`` why not a
    faster one."""

    def __init__(
        self,
        model: Any,
        parts: Blueprint,
        max_rows: int,
        note: Callable[[str], None] = lambda text: None,
        spelling: Spelling = no_spelling,
    ) -> None:
        self.model, self.parts, self.max_rows, self.version, self.spelling = model, parts, max_rows, 0, spelling
        self.notes: list[str] = []
        self._note = note
        self.context_tokens = stated_context(model)
        self.trunk = Trunk(parts, self.context_tokens)
        self.device = parts.embedding.weight.device
        gpu = self.device.type == "cuda"
        self.lag, self.padded = int(gpu), gpu
        self.kept_bytes = int(KEPT * torch.cuda.get_device_properties(self.device).total_memory) if gpu else 0
        self._lanes: Lanes | None = None
        self._addresses: list[int] = []
        self.go(fastest_backend(self.trunk, self.note))

    def go(self, paths: DecodeBackend) -> None:
        """Decodes this way from now on."""
        self.paths, self.how, self._lanes = paths, paths.how, None

    def note(self, text: str) -> None:
        """Says why something is slower than it could be."""
        self.notes.append(text)
        self._note(text)

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Copies only what does not already share this model's memory."""
        take_weights(self.model, weights)
        self.version = version

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        """Opens a stream of completions (``protocols.RolloutEngine``)."""
        return TorchStream(self, sampling, every_token)

    def take_lanes(self, waiting: Sequence[WaitingCompletion]) -> Lanes:
        """Returns lanes for what waits: those that were used last where they are large enough, else new ones.

        They are the caller's own until ``give_lanes``, so that another may run meanwhile.
        """
        lanes, self._lanes = self._lanes, None
        lengths = sorted({one.key: len(one.prompt) for one in waiting}.values(), reverse=True)
        slab, rows = max(one.limit for one in waiting), min(self.max_rows, len(waiting))
        rows = self._fitting(rows, slab, lengths, lanes)
        sizes = sum(lengths[:rows]), rows, slab
        before = lanes.cache.sizes if lanes is not None else (0, 0, 0)
        if lanes is not None and all(map(int.__ge__, before, sizes)):
            if self._moved():
                lanes.graphs.clear()
            return lanes
        lanes = None  # its memory is free before the next is taken
        self._moved()
        # The next call's prompts may be a little longer.
        larger = max(sizes[0] * 5 // 4, before[0]), max(rows, before[1]), max(slab, before[2])
        if Cache.bytes_for(self.parts, *larger) <= self.kept_bytes:
            sizes = larger
        cache = Cache(self.parts, *sizes)
        return Lanes(self.parts, self.paths.decoder, cache, Graphs(self.device, self.note), self.padded)

    def give_lanes(self, lanes: Lanes) -> None:
        """Takes back what ``take_lanes`` gave."""
        if lanes.cache.bytes <= self.kept_bytes:
            self._lanes = lanes

    def _fitting(self, rows: int, slab: int, lengths: Sequence[int], lanes: Lanes | None) -> int:
        """``rows``, or as many of them as a GPU has memory for."""
        if self.device.type != "cuda":
            return rows
        reserved = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        free = torch.cuda.mem_get_info(self.device)[0] + reserved + (lanes.cache.bytes if lanes else 0)
        wanted = rows
        while rows > 1 and Cache.bytes_for(self.parts, sum(lengths[:rows]), rows, slab) > USED * free:
            rows = -(-rows // 2)
        if rows < wanted:
            self.note(f"engine: memory for {counted(rows, 'completion')} side by side, not {wanted}")
        return rows

    def _moved(self) -> bool:
        """Says whether a parameter lies elsewhere than when this was last asked: recorded graphs hold addresses."""
        before, self._addresses = self._addresses, [parameter.data_ptr() for parameter in self.model.parameters()]
        return before != self._addresses


class TorchStream(Stream):
    """A ``protocols.Stream`` of one thread. What is submitted while a batch runs joins it where its cache has room for
    that, else waits for the next."""

    def __init__(self, engine: TorchEngine, sampling: Sampling, every_token: bool) -> None:
        self._engine, self._sampling, self._every_token = engine, sampling, every_token
        self._count, self._version = 0, engine.version
        self._waiting: deque[WaitingCompletion] = deque()
        self._batch: Batch | None = None

    def submit(self, request: Request) -> int:
        """Takes a request and returns its number. Raises ValueError for a prompt that fills the context."""
        number, context = self._count, self._engine.context_tokens
        refuse_misfit(number, request, context)
        self._count += 1
        limit = limit_of(request, self._sampling, context)
        for index in range(len(request.seeds)):
            self._waiting.append(WaitingCompletion((number, index), request, limit))
        return number

    def events(self) -> Iterator[Event]:
        """Yields tokens and completions as they come (``protocols.Stream``)."""
        while self._waiting or self._batch:
            if self._batch is None:
                self._begin()
            assert self._batch is not None
            for event in self._batch.step():
                if self._batch is None or event.request in self._batch.cancelled:
                    continue
                yield event
            if self._batch is not None and not self._batch.is_busy:
                self._end()
            elif self._batch is not None:
                self._join(self._batch)

    def cancel(self, number: int) -> None:
        """Ends what is under way of a request."""
        self._waiting = deque(one for one in self._waiting if one.owner[0] != number)
        if self._batch is not None:
            self._batch.cancel(number)

    def close(self) -> None:
        """Ends everything; called again, nothing."""
        self._waiting.clear()
        self._end()

    def _begin(self) -> None:
        engine, waiting = self._engine, list(self._waiting)
        self._waiting.clear()
        with torch.inference_mode():
            lanes = engine.take_lanes(waiting)
        lag = 0 if narrows(self._sampling) else engine.lag
        how = BatchOptions(self._sampling, engine.spelling, self._every_token, self._version)
        self._batch = Batch(engine.trunk, engine.paths.prompts, lanes, how, waiting, lag)

    def _join(self, batch: Batch) -> None:
        while self._waiting and batch.has_room(self._waiting[0]):
            batch.join(self._waiting.popleft())

    def _end(self) -> None:
        batch, self._batch = self._batch, None
        if batch is not None:
            self._engine.give_lanes(batch.lanes)
