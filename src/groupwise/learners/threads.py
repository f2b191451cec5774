"""How many CPU threads a train step runs fastest with, by trying."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from groupwise.types import Example, Prompt, Rollout

TRIALS = 2
WORTH = 0.85
"""Fewer threads are taken where they need less than this share of the time that more need: whatever else a machine is
doing during a trial slows more threads down more, and is over at some time."""
_CHOSEN: dict[tuple[str, int, int], int] = {}


def trial_rollouts(parameters: int, vocabulary: int, context_tokens: int) -> list[Rollout]:
    """Two groups of four, small enough for a fraction of a second, whatever the model's size."""
    length = max(6, min(200, context_tokens // 2, int(2e10 / (6 * max(parameters, 1)) / 10)))
    ids = tuple(place % vocabulary for place in range(1, length + 1))
    prompts = [Prompt(Example("trial", ""), ids[start:] or ids) for start in range(2)]
    told = (True,) * length, (0.0,) * length, "", True, 0
    return [Rollout(prompt, ids, *told) for prompt in prompts for _ in range(4)]


def choose_threads(wanted: int, device: str, model: Any, step: Callable[[int], None]) -> int:
    """``wanted``, which torch then uses everywhere; or for 0 on the CPU the fastest for ``step(threads)``, up to the
    number that torch has.

    Models of one kind and size get one answer in a process, so that they round alike.
    """
    most = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(wanted)
        return wanted
    if device != "cpu":
        return most
    key = type(model).__name__, model.num_parameters(), most
    return _CHOSEN[key] if key in _CHOSEN else _CHOSEN.setdefault(key, fastest(most, step))


def fastest(most: int, step: Callable[[int], None]) -> int:
    """The most threads, of ``most``, and of 1, 2, 4 ... below it, that fewer do not beat by far."""
    counts = sorted({most, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)}, reverse=True)
    if len(counts) == 1:
        return most
    best = dict.fromkeys(counts, float("inf"))
    for trial in range(TRIALS + 1):
        for count in counts:  # in turns: what else the machine does falls on all
            start = time.perf_counter()
            step(count)
            seconds = time.perf_counter() - start
            best[count] = min(best[count], seconds) if trial else best[count]  # the first warms up
    chosen = most
    for count in counts[1:]:
        if best[count] < WORTH * best[chosen]:
            chosen = count
    return chosen
