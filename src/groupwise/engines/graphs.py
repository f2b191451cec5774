"""A function on static buffers as one launch: CUDA graphs, kept by key."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor


class Graphs:
    """Graphs hold recorded steps: ``run(key, function, keep)`` does what ``function()`` does, and on a GPU by a
    recorded graph.

    A function here reads and writes tensors that stay where they are, waits for nothing and returns nothing or one
    tensor. That tensor is the graph's own: the next ``run`` of the key overwrites it. What the function read of Python
    objects stays as it was when it was recorded.

    All graphs draw on one pool of memory, since only one of them runs at a time and none reads what another left
    outside static buffers. ``clear`` gives the pool back.
    """

    def __init__(self, device: torch.device, note: Callable[[str], None] = lambda text: None) -> None:
        self.on = device.type == "cuda"
        self._note = note
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor | None]] = {}
        self._pool: Any = None

    def __len__(self) -> int:
        return len(self._graphs)

    def clear(self) -> None:
        """Forgets all graphs, where a tensor that one reads has moved."""
        self._graphs.clear()
        self._pool = None

    def run(self, key: Hashable, function: Callable[[], Tensor | None], keep: list[Tensor]) -> Tensor | None:
        """Runs a function, or its recorded graph. ``keep``: the buffers that ``function`` reads before it writes;
        recording leaves them as they were."""
        if not self.on:
            return function()
        if key not in self._graphs:
            try:
                self._graphs[key] = capture(function, keep, self._pool)
            except RuntimeError as error:
                # Which operations can be recorded differs between releases of torch and CUDA.
                self._note(f"engine: CUDA graphs are off, slower: {str(error).splitlines()[0]}")
                self.on = False
                self.clear()
                return function()
        graph, result = self._graphs[key]
        self._pool = graph.pool()
        graph.replay()
        return result


def capture(
    function: Callable[[], Tensor | None], keep: list[Tensor], pool: Any = None
) -> tuple[torch.cuda.CUDAGraph, Tensor | None]:
    """Runs ``function`` once, on a stream of its own, so that libraries set themselves up and kernels are compiled;
    puts ``keep`` back; then records it without running."""
    before = [tensor.clone() for tensor in keep]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            function()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # thread_local: another thread (a reward model's) may use the device meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            result = function()
    finally:
        for tensor, value in zip(keep, before, strict=True):
            tensor.copy_(value)
    return graph, result
