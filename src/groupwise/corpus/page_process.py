"""This program turns pages into text, one after the other, in a process that may be ended at any of them.

It reads a page from its standard input and writes the text to its standard output. A page that takes too much of the
processor's time ends it (the kernel's timer, so nothing has to look), and so does one that needs too much memory.
Its answers are JSON: whatever a page makes of this process, its caller reads nothing but text and numbers.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

from groupwise.corpus.extraction import Extract, text_of

MOST_BYTES = 1 << 30


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
    _answer(answers, "ready")
    while (page := receive(pages)) is not None:
        signal.setitimer(signal.ITIMER_PROF, extract.seconds)  # its signal ends this process
        answer = _read(page, extract)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _answer(answers, answer)


def _read(page: tuple[bytes, str], extract: Extract) -> object:
    try:
        return vars(text_of(*page, extract))
    except MemoryError:
        return "memory"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]


def _limit_memory(more: int) -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def _answer(stream: BinaryIO, value: object) -> None:
    _write(stream, json.dumps(value).encode())


def send(stream: BinaryIO, value: object) -> None:
    """Writes one value to this process."""
    _write(stream, pickle.dumps(value))


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Reads one value of the caller; None where there are no more."""
    data = _data(stream)
    return None if data is None else pickle.loads(data)


def answer_of(stream: BinaryIO) -> Any:
    """Reads one answer; None where the process has ended, or answers what is none."""
    data = _data(stream)
    try:
        return None if data is None else json.loads(data)
    except ValueError:
        return None


def _data(stream: BinaryIO) -> bytes | None:
    head = stream.read(8)
    if len(head) < 8 or (size := struct.unpack("<Q", head)[0]) > MOST_BYTES:
        return None
    data = stream.read(size)
    return data if len(data) == size else None


if __name__ == "__main__":
    main()
