"""The threads of one learner, which share the work of an operation unit by unit.

Threads inside a matrix product wait for each other thousands of times a second, and wait long where a core is busy
elsewhere; these take what is next as they get to it, each with matrix products of one thread.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels.calls import call

STRANDS = 8
"""Sums over rows that are made apart and then added in their order, where this module sums: so the number of lanes
changes no bit."""


class TileThreads:
    """These are ``count`` threads, the calling thread among them. They belong to whoever made this, are made when they
    are first needed, and end with it; where the system has fewer threads, fewer do the work. No number depends on how
    many."""

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self._open: tuple[int, int] | None = None
        self._closing: Callable[[], Any] | None = None

    @property
    def count(self) -> int:
        """Returns how many threads share the tiles, the calling one among them."""
        return self._count

    @count.setter
    def count(self, count: int) -> None:
        """Is how many threads share the tiles."""
        if count != self._count:
            self.close()
        self._count = count

    @property
    def handle(self) -> int:
        """Returns what compiled code knows them by. A child of this process, which has none of its threads, has its
        own."""
        if self._open is None or self._open[0] != os.getpid():
            made = ctypes.c_void_p()
            call("threads_open", self._count, ctypes.byref(made))
            assert made.value is not None
            self._open = os.getpid(), made.value
            self._closing = weakref.finalize(self, _close, *self._open)
        return self._open[1]

    def close(self) -> None:
        """Ends the threads; they are made again where they are needed."""
        if self._closing is not None:
            self._closing()
        self._open = self._closing = None

    @contextmanager
    def inside(self, tiled: bool) -> Iterator[None]:
        """Gives torch's own operations in this thread one thread where work is ``tiled``, else as many as there are
        here. No other thread notices, and what was before is so again at the end."""
        before = own_threads(1 if tiled else self._count)
        try:
            yield
        finally:
            before()

    def each(self, count: int, work: Callable[[int], None]) -> None:
        """Calls ``work(0)`` to ``work(count - 1)``, each by whoever is free, without gradient. Returns when all are
        done; raises what the first of them raised that did."""
        numbers, failed = itertools.count(), list[BaseException]()
        inference = torch.is_inference_mode_enabled()

        def labour() -> None:
            with torch.inference_mode(inference), torch.no_grad():
                while not failed and (number := next(numbers)) < count:
                    try:
                        work(number)
                    except BaseException as error:
                        failed.append(error)

        def other() -> None:
            own_threads(1)
            labour()

        threads = []
        for _ in range(min(self._count, count) - 1):
            thread = threading.Thread(target=other, name="lane")
            try:
                thread.start()
            except RuntimeError:  # there are no more
                break
            threads.append(thread)
        labour()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def summed(
        self, tiles: Sequence[slice], like: Sequence[Tensor | None], work: Callable[[slice, list[Any]], None]
    ) -> list[Any]:
        """Returns the sums of ``work(tile, sums)``, which adds to sums that begin at 0: their total, None where nothing
        is summed."""
        each = -(-len(tiles) // STRANDS) or 1
        strands = [tiles[start : start + each] for start in range(0, len(tiles), each)]
        whole, waiting, lock = _zeros(like), dict[int, list[Any]](), threading.Lock()
        apply_rope = itertools.count()
        state = {"next": next(apply_rope)}

        def strand(number: int) -> None:
            sums = _zeros(like)
            for tile in strands[number]:
                work(tile, sums)
            with lock:
                waiting[number] = sums
                while state["next"] in waiting:
                    for total, part in zip(whole, waiting.pop(state["next"]), strict=True):
                        if total is not None:
                            total += part
                    state["next"] = next(apply_rope)

        self.each(len(strands), strand)
        return whole


def _zeros(like: Sequence[Tensor | None]) -> list[Any]:
    return [None if tensor is None else torch.zeros_like(tensor) for tensor in like]


def _close(process: int, handle: int) -> None:
    if process == os.getpid():
        call("threads_close", handle)


def own_threads(count: int) -> Callable[[], None]:
    """Gives torch's operations in this thread ``count`` threads from now on, or one where threads are few
    (``keep_to_available_threads``); what is returned makes it as it was.

    ``torch.set_num_threads`` also sets what threads to come begin with, so that two that use it get in each other's
    way; the libraries beneath it keep a number for each thread.
    """
    before, functions = torch.get_num_threads(), _per_thread()
    count = 1 if _FEW.is_set() else count
    if functions is None:
        torch.set_num_threads(count)
        return lambda: torch.set_num_threads(before)
    openmp, mkl = functions
    openmp(count)
    products = mkl(count)

    def again() -> None:
        openmp(before)
        mkl(products)

    return again


def available_threads(count: int) -> int:
    """Returns ``count``, or how many threads this process can have now, the calling one among them: a limit on
    processes, or on memory, may leave fewer."""
    end, made = threading.Event(), list[threading.Thread]()
    for _ in range(count - 1):
        thread = threading.Thread(target=end.wait, name="trial", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            break
        made.append(thread)
    end.set()
    for thread in made:
        thread.join()
    return 1 + len(made)


def keep_to_available_threads(wanted: int = 0) -> str:
    """Keeps to one thread where the system gives fewer threads than torch, which may want ``wanted``, transformers and
    tokenizers make between them: from now on they have none of their own, and torch works in the thread that calls it.
    Each of them ends a run that it finds no thread for, and OpenMP makes its threads anew now and then. Says so then;
    else empty."""
    needed = TEAMS * max(wanted, torch.get_num_threads()) + (os.cpu_count() or 1) + LOADING + SPARE
    found = available_threads(needed)
    if found == needed and not _FEW.is_set():
        return ""
    _FEW.set()
    torch.set_num_threads(1)
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return (
        f"the system gives {found} threads, fewer than {needed} (a limit on processes, ulimit -u, or on memory): torch "
        "has one, models are read and texts encoded in one, slower"
    )


TEAMS, LOADING, SPARE = 2, 4, 3
"""Threads that call torch, each of which has a team; those in which transformers reads weights; those that write the
ledger, score and write event files."""
_FEW = threading.Event()


@functools.cache
def _per_thread() -> tuple[Any, Any] | None:
    """OpenMP's and MKL's own, as torch brings them along; the second returns what was before."""
    try:
        own = torch_library()
        return own.omp_set_num_threads, own.MKL_Set_Num_Threads_Local
    except (OSError, AttributeError):
        return None


def torch_library() -> ctypes.CDLL:
    """Returns the library that torch computes with on a CPU. Raises OSError where it is not found."""
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
