"""This program turns pages into text, one after the other, in a process that may be ended at any of them.

It reads a page from its standard input and writes the text to its standard output. A page that takes too much of the
processor's time ends it (the kernel's timer, so nothing has to look), and so does one that needs too much memory.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import struct
import sys
from typing import BinaryIO

from groupwise.corpus.extraction import Extract, text_of


def main() -> None:
    """Answers pages until there are no more."""
    pages, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setrecursionlimit(1000)
    extract = receive(pages)
    assert isinstance(extract, Extract)
    text_of(b"<p>what is loaded late is loaded now", "", extract)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory(extract.megabytes << 20)
    send(answers, None)
    while (page := receive(pages)) is not None:
        signal.setitimer(signal.ITIMER_PROF, extract.seconds)  # its signal ends this process
        answer = _answer(page, extract)
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(answers, answer)


def _answer(page: tuple[bytes, str], extract: Extract) -> object:
    try:
        return text_of(*page, extract)
    except MemoryError:
        return "memory"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]


def _limit_memory(more: int) -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def send(stream: BinaryIO, value: object) -> None:
    """Writes one value."""
    data = pickle.dumps(value)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> object:
    """Reads one value; None where there are no more."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    data = stream.read(struct.unpack("<Q", head)[0])
    return pickle.loads(data)


if __name__ == "__main__":
    main()
