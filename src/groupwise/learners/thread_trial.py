"""This module finds out, by trying, how many CPU threads a train step runs fastest with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from groupwise.kernels.tile_threads import keep_to_available_threads, own_threads
from groupwise.output.counting import counted
from groupwise.types import Example, Prompt, Rollout

TRIALS = 2
TRIAL_FLOPS = 1e11
"""Of a trial's step: with fewer tokens its time would be that of reading weights, which threads do not divide."""
WORTH = 0.85
"""Fewer threads are taken where they need less than this share of the time that more need."""
QUIET = 1.2
"""Where one thread's step takes so many times its CPU time, others are at work on the machine. They will be gone some
time, and a trial against them says nothing: then a step is taken to cost its CPU time, divided among its threads."""


class ThreadPlan:
    """A plan says how many CPU threads the learners of one run have. Models of one kind and size get one answer, so
    that they round alike; two that are opened at once are not tried against each other."""

    def __init__(self) -> None:
        self.most = torch.get_num_threads()
        self._chosen: dict[tuple[str, int], int] = {}
        self._trial = threading.Lock()

    def choose(self, wanted: int, device: str, model: Any, step: Callable[[int], None]) -> int:
        """Returns ``wanted``, or for 0 on the CPU the fastest for ``step(threads)``, up to the number that torch
        had."""
        if wanted or device != "cpu":
            return wanted or self.most
        key = type(model).__name__, model.num_parameters()
        with self._trial:
            if key not in self._chosen:
                self._chosen[key] = fastest(self.most, step)
        return self._chosen[key]


_current: ContextVar[ThreadPlan | None] = ContextVar("thread plan", default=None)


@contextmanager
def one_thread_plan() -> Iterator[ThreadPlan]:
    """Gives learners that are opened in here one plan to share. Torch has as many threads as the newest of them
    everywhere in this thread, in sampling too: a continued run, which is told the number, rounds alike. At the end it
    is as it was."""
    plan = ThreadPlan()
    again = own_threads(plan.most)
    inside = _current.set(plan)
    try:
        yield plan
    finally:
        _current.reset(inside)
        again()


def _set_thread_count(learner: Any, count: int) -> None:
    learner.pool.count = count


pool_threads: Any = property(lambda learner: learner.pool.count, _set_thread_count, doc="A learner's own CPU threads.")


def remarks(threads: int, chosen: bool, slower: str) -> list[str]:
    """Returns what a person should know once a run: how many threads were ``chosen`` in a trial, and why learning is
    slower than it could be."""
    found = [f"{counted(threads, 'CPU thread')}, the fastest in a trial"] if chosen else []
    return found + ([f"{slower}; padding is computed and prompts are not shared, slower"] if slower else [])


def trial_rollouts(parameters: int, vocabulary: int, context_tokens: int) -> list[Rollout]:
    """Makes two groups of four, for a fraction of a second in a network of so many parameters."""
    length = max(6, min(200, context_tokens // 2, int(TRIAL_FLOPS / (6 * max(parameters, 1)) / 10)))
    ids = tuple(place % vocabulary for place in range(1, length + 1))
    prompts = [Prompt(Example("trial", ""), ids[start:] or ids) for start in range(2)]
    told = (True,) * length, (0.0,) * length, "", True, 0
    return [Rollout(prompt, ids, *told) for prompt in prompts for _ in range(4)]


def choose_threads(
    wanted: int, device: str, model: Any, step: Callable[[int], None], note: Callable[[str], None] = lambda text: None
) -> int:
    """The number of CPU threads for a learner, by the plan of what it is opened in, or by one of its own. ``note`` is
    called where the system gives fewer than are wanted."""
    if wanted and (fewer := keep_to_available_threads(wanted)):
        note(f"learner: {fewer}")
    plan = _current.get()
    count = (plan or ThreadPlan()).choose(wanted, device, model, step)
    if plan and (wanted or device == "cpu"):
        own_threads(count)
    return count


def fastest(most: int, step: Callable[[int], None]) -> int:
    """The most threads, of ``most``, and of 1, 2, 4 ... below it, that fewer do not beat by far."""
    counts = sorted({most, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)}, reverse=True)
    if len(counts) == 1:
        return most
    clock, work = (dict.fromkeys(counts, float("inf")) for _ in range(2))
    for trial in range(TRIALS + 1):
        for count in counts:  # in turns: what else the machine does falls on all
            start, worked = time.perf_counter(), time.process_time()
            step(count)
            if trial:  # the first warms up
                clock[count] = min(clock[count], time.perf_counter() - start)
                work[count] = min(work[count], time.process_time() - worked)
    quiet = clock[1] < QUIET * work[1]
    best = clock if quiet else {count: work[count] / count for count in counts}
    chosen = most
    for count in counts[1:]:
        if best[count] < WORTH * best[chosen]:
            chosen = count
    return chosen
