"""This module is what every process but the first runs: learners that do as those of rank 0 do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from groupwise.learners.launch import PARENT
from groupwise.learners.options import LearnerOptions

KEPT_WHILE_OPENED, LARGEST_KEPT = 1 << 20, 16 << 20
"""Bytes. Whole blocks come and go, each a little larger than the hole that the one before has left."""


def opened(kind: str, options: LearnerOptions, context: int, directory: str, *others: Any) -> Any:
    """Opens one process's part of a learner, of the kind ``policy`` or ``scorer``. ``context``: so many processes
    compute a micro-batch together."""
    from groupwise.kernels.malloc import share_freed_memory
    from groupwise.learners.device import pick_device
    from groupwise.learners.local import LocalLearner
    from groupwise.learners.scorer import ScorerLearner
    from groupwise.learners.sharding import Sharded

    share_freed_memory(KEPT_WHILE_OPENED)
    placement = Sharded(pick_device(options.device), context)
    kinds: dict[str, Any] = {"policy": LocalLearner, "scorer": ScorerLearner}
    try:
        return kinds[kind](options, directory, *others, placement=placement)
    finally:
        share_freed_memory(LARGEST_KEPT)


class Follower:
    """A follower holds this process's parts of learners, by number."""

    def __init__(self) -> None:
        self.learners: dict[int, Any] = {}

    def __call__(self, message: tuple[Any, ...]) -> Any:
        """Does what a message says: ``(learner, method, arguments)``. Returns what rank 0 adds to its own."""
        from groupwise.learners.fingerprint import model_fingerprint

        number, name, arguments = message
        if name == "open":
            self.learners[number] = opened(*arguments)
        elif name == "model":
            return model_fingerprint(*arguments)
        elif name == "close":
            self.learners.pop(number).close()
        elif name == "accumulate":
            return tallies_of(self.learners[number], *arguments)
        elif name == "weights":
            for _ in self.learners[number].weights():
                pass
        elif name == "try_step":
            self.learners[number].memory.try_step(*arguments)
        else:
            getattr(self.learners[number], name)(*arguments)
        return None


def tallies_of(learner: Any, batch: Any, algorithm: Any, on_rows: Callable[[int], None] = lambda rows: None) -> Any:
    """Accumulates this process's rows. ``on_rows`` hears of those of all processes."""
    from groupwise.learners.backward import tallies

    found = tallies(learner.backward, batch, algorithm, lambda rows: on_rows(learner.placement.rows))
    return found if learner.placement.leads else []


def alone(options: LearnerOptions, processes: int, cores: int) -> LearnerOptions:
    """The options of one process's part: as many threads as are its share."""
    return replace(options, threads=options.threads or max(1, cores // processes))


def end_with(parent: int) -> None:
    """Ends this process soon after the one that started it, even where it waits for the others: their sockets may stay
    open in what they forked."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Follows rank 0 to the end."""
    parent = int(os.environ.get(PARENT, os.getppid()))
    threading.Thread(target=end_with, args=(parent,), name="parent", daemon=True).start()
    import torch

    from groupwise.learners.process_group import follow

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    follow(Follower())


if __name__ == "__main__":
    main()
