"""The C library's heap, as a run needs it."""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX = -8  # <malloc.h>


def share_freed_memory() -> bool:
    """From now on, what one thread gives back serves all others; whether the C library could be told so.

    glibc gives threads heaps of their own: what a learner's lanes had freed would lie there, held from the system and
    out of reach, while the engine's threads sample. Allocations of a run are large and few, so that nobody waits.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_ARENA_MAX, 1))
