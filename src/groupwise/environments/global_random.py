"""Random numbers that a game takes from Python's and numpy's global generators, each episode's from its own seed."""

from __future__ import annotations

import random
import sys
from random import Random
from typing import Any


class GlobalRandom:
    """A context in which the global generators go on where this episode left them; outside they are as they were.

    So episodes that one process plays in turns do not take each other's numbers, and one that is played again takes the
    same. Nothing may wait inside.
    """

    def __init__(self, source: Random) -> None:
        self.seed = source.getrandbits(31)
        self._own: Any = Random(self.seed).getstate()
        self._own_numpy: Any = None
        self._outside: tuple[Any, Any] = (None, None)

    def __enter__(self) -> GlobalRandom:
        numpy = sys.modules.get("numpy")
        self._outside = (random.getstate(), numpy.random.get_state() if numpy else None)
        random.setstate(self._own)
        if numpy and self._own_numpy is None:
            numpy.random.seed(self.seed)
        elif numpy:
            numpy.random.set_state(self._own_numpy)
        return self

    def __exit__(self, *error: object) -> None:
        numpy = sys.modules.get("numpy")
        self._own = random.getstate()
        random.setstate(self._outside[0])
        if numpy:
            self._own_numpy = numpy.random.get_state()
            if self._outside[1] is not None:
                numpy.random.set_state(self._outside[1])
