"""Every random choice is a function of the run's seed and what it is for: no stream is carried from step to step.

A resumed run therefore continues exactly, and neither batch size, order nor overlap changes a draw.
"""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache


def stable_seed(*parts: object) -> int:
    """Makes 63 bits from any printable parts, the same on every machine and in every process."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@lru_cache(maxsize=4)
def shuffled(size: int, seed: int) -> tuple[int, ...]:
    """Returns a permutation of ``range(size)``."""
    order = list(range(size))
    random.Random(seed).shuffle(order)
    return tuple(order)
