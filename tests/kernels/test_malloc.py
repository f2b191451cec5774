"""Memory that one thread gives back serves the next."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading, time
from pathlib import Path
from groupwise.kernels.malloc import share_freed_memory

if sys.argv[1] == "shared":
    assert share_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def use():
    for block in [ctypes.memset(libc.malloc(100_000), 1, 100_000) for _ in range(300)]:
        libc.free(ctypes.c_void_p(block))

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = held()
gate, used = threading.Event(), [threading.Event() for _ in range(8)]
threads = [threading.Thread(target=lambda done: (use(), done.set(), gate.wait(600)), args=(done,)) for done in used]
for thread, done in zip(threads, used):
    thread.start()
    done.wait(600)  # one after the other: each could use what the one before has freed
kept = held() - before
gate.set()
[thread.join(600) for thread in threads]
print(kept)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_threads_use_again_what_others_have_freed() -> None:
    def kept(how: str) -> int:
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=1200, check=True
        )
        return int(run.stdout)

    assert kept("shared") < kept("own") / 2
