"""Tiles of one operation side by side on threads of ours, each with matrix products of one thread.

Threads inside a matrix product wait for each other thousands of times a second, and wait long where a core is busy
elsewhere; these wait once an operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

LONGEST_SECONDS = 3600.0
"""Of one operation in a lane; a thread that hangs ends the run rather than hold it for ever."""
_count = 1
_pool: ThreadPoolExecutor | None = None


def count() -> int:
    """Lanes that are open."""
    return _count


@contextmanager
def open_lanes(threads: int, tiled: bool = True) -> Iterator[None]:
    """``threads`` lanes, and one thread within torch's operations; or, where nothing is ``tiled``, as many there. What
    was before is so again at the end."""
    global _count, _pool
    before = _count, torch.get_num_threads()
    if _pool is None or _pool._max_workers < threads - 1:
        _pool = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="lane")
    _count, inside = (threads, 1) if tiled else (1, threads)
    if inside != before[1]:
        torch.set_num_threads(inside)
    try:
        yield
    finally:
        _count = before[0]
        if inside != before[1]:
            torch.set_num_threads(before[1])


def each_tile(tiles: Sequence[slice], work: Callable[[slice, int], None]) -> None:
    """``work(tile, lane)`` of every tile, without gradient; tile n in lane n % ``count()``, so that what a lane sums up
    is always the same. Returns when all are done."""
    lanes = min(_count, len(tiles))
    inference = torch.is_inference_mode_enabled()

    def labour(lane: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            for tile in tiles[lane::lanes]:
                work(tile, lane)

    assert lanes <= 1 or _pool is not None
    others = [_pool.submit(labour, lane) for lane in range(1, lanes)] if _pool is not None else []
    if tiles:
        labour(0)
    for other in others:
        other.result(timeout=LONGEST_SECONDS)


def zeros(*like: Tensor | None) -> list[list[Any]]:
    """Sums for each lane; None where nothing is summed."""
    return [[None if tensor is None else torch.zeros_like(tensor) for tensor in like] for _ in range(_count)]


def total(sums: Sequence[Sequence[Any]]) -> list[Any]:
    """Of all lanes, in their order; in the first one's place."""
    for lane in sums[1:]:
        for whole, part in zip(sums[0], lane, strict=True):
            if whole is not None:
                whole += part
    return list(sums[0])
