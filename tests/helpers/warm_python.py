"""Stands where somebody starts a Python: what it is given becomes a fork of the warm process, whose end is its own.

Its streams, directory and environment are the fork's. Signals that ask for an end are passed on, and the fork is killed
where this one is.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

import warm

if __name__ == "__main__":
    fork: list[warm.Process] = []
    for ends in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ends, lambda number, _: [each.send_signal(number) for each in fork])  # type: ignore[arg-type]
    fork.append(warm.Process(sys.argv[1:], stdin=0, stdout=1, stderr=2, follows=True))
    status = fork[0].wait(timeout=None)
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
