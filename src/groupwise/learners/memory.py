"""This module looks after memory: fewer tokens at once when it runs out, and how much there is."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from groupwise.errors import MicroBatchTooLarge, UserError
from groupwise.learners.batching import even_micro_batches, micro_batches, tokens_together
from groupwise.learners.placement import ONE_PROCESS, Placement
from groupwise.output.counting import counted
from groupwise.types import Rollout

RAN_OUT = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "alloc_failed", "out_of_memory")
"""In what torch and its libraries say, in small letters."""
SHOWN_LETTERS = 200  # of what the allocator said


class MicroBatchBudget:
    """A budget says how many tokens go through the network at once: as many as asked for, and fewer once memory has run
    out."""

    def __init__(
        self,
        tokens: int,
        discard: Callable[[], None],
        note: Callable[[str], None],
        placement: Placement = ONE_PROCESS,
    ) -> None:
        self.tokens, self.discard, self.note, self.placement = tokens, discard, note, placement
        self._asked = tokens

    def state(self) -> dict[str, int]:
        """Returns what a continued run has to know: how many were asked for, too, where memory did not suffice for
        them."""
        asked = {"tokens_asked": self._asked} if self.tokens < self._asked else {}
        return {"tokens_per_micro_batch": self.tokens} | asked

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes no more than what memory sufficed for where it ran out before; else as many as are asked for now."""
        if "tokens_asked" in state:
            self.tokens = min(self.tokens, state["tokens_per_micro_batch"])

    def parts(
        self,
        rollouts: Sequence[Rollout],
        padded: bool,
        together: Sequence[int] | None = None,
        idle: frozenset[int] = frozenset(),
    ) -> Iterator[list[int]]:
        """Yields micro-batches: row numbers. Where several processes compute, each has its share of every round."""
        if self.placement.count == 1:
            return micro_batches(rollouts, self.tokens, together, padded, idle)
        side_by_side = self.placement.side_by_side
        return iter(even_micro_batches(rollouts, self.tokens, side_by_side, together, padded, idle))

    def each(
        self,
        rollouts: Sequence[Rollout],
        work: Callable[[list[int]], None],
        padded: bool,
        together: Sequence[int] | None = None,
        idle: frozenset[int] = frozenset(),
    ) -> None:
        """Calls ``work`` on every micro-batch of this process. Where memory runs out, the gradient is discarded and
        the next ones hold half of that micro-batch's tokens.

        Raises MicroBatchTooLarge then, and UserError where rows cannot be taken apart any further.
        """
        for rows in self.placement.share(self.parts(rollouts, padded, together, idle)):
            try:
                work(rows)
                continue
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                said = " ".join(str(error).split()) or type(error).__name__
                if self.placement.count > 1:  # the others are in the midst of it: nobody can take smaller ones now
                    raise UserError(
                        f"memory ran out in process {self.placement.rank} of {self.placement.count} "
                        f"({said[:SHOWN_LETTERS]}); lower learner.tokens_per_micro_batch, now {self.tokens:,}, or set "
                        "learner.checkpointing True"
                    ) from error
            self.discard()  # only here is what the failed pass held let go of
            release()
            units = {together[row] if together else row for row in rows}
            self._shrink(tokens_together(rollouts, rows, padded), len(units), said[:SHOWN_LETTERS])

    def _shrink(self, size: int, units: int, said: str) -> None:
        if units == 1:
            raise UserError(
                f"memory ran out on {counted(size, 'token')} that must go through the network together ({said}); lower "
                "max_completion_tokens, set learner.checkpointing True or learner.optimizer_bits 8, or take a machine "
                "with more memory"
            )
        self.tokens = size // 2
        self.note(
            f"learner: memory ran out on a micro-batch of {size:,} tokens; from now on at most {self.tokens:,} go "
            "through at once. The step is repeated with the same gradient"
        )
        raise MicroBatchTooLarge


def ran_out(error: BaseException) -> bool:
    """Says whether an error tells that there was no memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error).lower() for words in RAN_OUT
    )


def release() -> None:
    """Gives back what nobody uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_bytes(device: str) -> float:
    """Returns what can be had on this device; infinity where nobody says."""
    if device != "cpu":
        return float(torch.cuda.mem_get_info()[0])
    limits = [_mem_available(), _cgroup_left()]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(float(soft - _address_space()))
    return min(limits)


@contextmanager
def no_more_than_free(device: str) -> Iterator[None]:
    """Makes an allocation on a CPU beyond what is free fail here: else the system ends the process without a word."""
    free = free_bytes(device) if device == "cpu" else float("inf")
    if free == float("inf"):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(_address_space() + free), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _mem_available() -> float:
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return float("inf") if found is None else 1024.0 * int(found)


def _cgroup_left() -> float:
    """Returns what a container's own limit leaves."""
    folder = Path("/sys/fs/cgroup")
    most, used = folder / "memory.max", folder / "memory.current"
    if not (most.exists() and used.exists()) or not most.read_text().strip().isdigit():
        return float("inf")
    return float(int(most.read_text()) - int(used.read_text()))
