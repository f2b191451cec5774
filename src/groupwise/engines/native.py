"""The engine in torch, on any device and in any precision: continuous batching over one preallocated cache.

A step is admit → step → hear → arrange. A group's prompt is computed once and stands in the cache once; a finished
completion leaves at once, and the next that waits takes its place. On a GPU a step is one launch of a CUDA graph, and
the host reads what a step drew while the device computes the next: a completion that ended is cut where it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.engines.batch import Asked, Batch
from groupwise.engines.cache import Cache
from groupwise.engines.common import refuse_misfits, take_weights
from groupwise.engines.graphs import Graphs
from groupwise.engines.lanes import Lanes
from groupwise.engines.paths import Paths, paths_for
from groupwise.engines.sampler import narrows
from groupwise.networks import Blueprint
from groupwise.networks.trunk import Trunk
from groupwise.types import Completion, Request, Sampling

USED = 0.7
"""Share of a GPU's free memory that a cache may take; where more would be needed, fewer rows run side by side."""
KEPT = 0.1
"""A cache up to this share of a GPU's memory, and the graphs on it, stay for the next ``generate``, which then records
nothing; a larger one is given back, so that the learner has the memory."""


class NativeEngine:
    """A ``protocols.RolloutEngine`` for the families of ``networks.blueprint``; ``how`` says which way it decodes and
    ``notes`` why not a faster one."""

    def __init__(
        self, model: Any, parts: Blueprint, max_rows: int, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self.model, self.parts, self.max_rows, self.version = model, parts, max_rows, 0
        self.notes: list[str] = []
        self._note = note
        self.context_tokens = int(model.config.max_position_embeddings)
        self.trunk = Trunk(parts, self.context_tokens)
        self.device = parts.embedding.weight.device
        gpu = self.device.type == "cuda"
        self.lag, self.padded = int(gpu), gpu
        self.kept_bytes = int(KEPT * torch.cuda.get_device_properties(self.device).total_memory) if gpu else 0
        self._lanes: Lanes | None = None
        self._addresses: list[int] = []
        self.go(paths_for(self.trunk, self.note))

    def go(self, paths: Paths) -> None:
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

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        on_token: Callable[[int, int, int], None] | None = None,
    ) -> Iterator[tuple[int, int, Completion]]:
        """See ``protocols.RolloutEngine``. A prompt that fills the context raises ValueError."""
        refuse_misfits(requests, self.context_tokens)
        if not any(request.seeds for request in requests):
            return
        with torch.inference_mode():
            lanes = self._open(requests, sampling)
        asked = Asked(requests, sampling, on_token, self.version)
        lag = 0 if narrows(sampling) else self.lag
        try:
            yield from Batch(self.trunk, self.paths.prompts, lanes, asked, self.context_tokens, lag).run()
        finally:
            if lanes.cache.bytes <= self.kept_bytes:
                self._lanes = lanes

    def _open(self, requests: Sequence[Request], sampling: Sampling) -> Lanes:
        """Lanes for what is asked: those of the last call where they are large enough, else new ones.

        They are this call's own until it is over, so that another may run meanwhile.
        """
        lanes, self._lanes = self._lanes, None
        lengths = sorted({request.key: len(request.tokens) for request in requests}.values(), reverse=True)
        slab = min(sampling.max_tokens, self.context_tokens - lengths[-1])
        rows = min(self.max_rows, sum(len(request.seeds) for request in requests))
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
            self.note(f"engine: memory for {rows} completions side by side, not {wanted}")
        return rows

    def _moved(self) -> bool:
        """Whether a parameter lies elsewhere than when this was last asked: recorded graphs hold addresses."""
        before, self._addresses = self._addresses, [parameter.data_ptr() for parameter in self.model.parameters()]
        return before != self._addresses
