"""This module makes forks of a process cheap, one for each item.

It needs the standard library only, since it also goes to a worker (``parcel``). A fork copies the table of all pages,
and each page that parent or child writes to next; with sympy loaded that is most of what an item costs.
"""

from __future__ import annotations

import ctypes
import gc
import sys

_COLLAPSE = 25
_HUGE_PAGE_BITS = 21


def share_pages() -> None:
    """Makes forks of this process cheap: call it when all is loaded. It changes nothing but what they cost."""
    gc.collect()
    blocks = {id(one) >> _HUGE_PAGE_BITS for one in gc.get_objects()}
    gc.freeze()  # or a collection in a child writes to, and so copies, all that it finds here
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    for block in sorted(blocks):  # one entry of a table for 512 pages, where kernel (6.1) and block allow it
        advise(ctypes.c_void_p(block << _HUGE_PAGE_BITS), ctypes.c_size_t(1 << _HUGE_PAGE_BITS), _COLLAPSE)
