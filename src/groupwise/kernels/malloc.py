"""The C library's heap, as a run needs it."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # <malloc.h>
LARGEST_KEPT = 32 << 20  # bytes, the most that glibc takes
_NEVER = (1 << 31) - 1


def share_freed_memory(largest_kept: int = LARGEST_KEPT) -> bool:
    """Makes what one thread gives back serve all others from now on; it is not given to the system and asked for again
    in the next step; whether the C library could be told so.

    glibc gives threads heaps of their own: what a learner's lanes had freed would lie there, out of reach, while the
    engine's threads sample. Allocations of a run are large and few, so that nobody waits. What has more than
    ``largest_kept`` bytes goes back all the same.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, largest_kept), (_TRIM_THRESHOLD, _NEVER))
    return all(mallopt(*each) for each in wanted)
