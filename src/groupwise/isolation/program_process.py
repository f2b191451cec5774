"""A program's process while it runs: what it reads, what it writes, when it has had enough."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, cast

START_SECONDS = 5.0
"""More than its own limit: starting and ending a sandbox on a busy machine."""


@dataclass(frozen=True)
class ProgramOutput:
    """This is what a program did: its output, and why it did not end well (empty: it did)."""

    output: bytes
    trouble: str = ""


def watch(
    process: subprocess.Popen[bytes], seconds: float, output_bytes: int, writer: int | None = None, given: bytes = b""
) -> ProgramOutput:
    """Feeds it over ``writer``, which is closed, and reads it until it ends, says too much or takes too long."""
    deadline = time.monotonic() + seconds
    stream, output, ended = cast(IO[bytes], process.stdout), b"", False
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        if writer is not None:
            os.set_blocking(writer, False)
            selector.register(writer, selectors.EVENT_WRITE)
        try:
            while not ended and time.monotonic() < deadline and len(output) <= output_bytes:
                for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                    if key.fileobj is stream:
                        chunk = os.read(stream.fileno(), 1 << 16)
                        output, ended = output + chunk, not chunk
                    elif writer is not None and not (given := _fed(writer, given)):
                        selector.unregister(writer)
                        os.close(writer)
                        writer = None
        finally:
            if writer is not None:
                os.close(writer)
    if not ended:
        return ProgramOutput(output, "output" if len(output) > output_bytes else "time")
    try:
        status = process.wait(max(0.05, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return ProgramOutput(output, "time")
    return ProgramOutput(output, f"exit status {status}" if status else "")


def _fed(writer: int, given: bytes) -> bytes:
    """What is left to write; nothing where nobody reads any more."""
    try:
        return given[os.write(writer, given[: 1 << 16]) :]
    except BlockingIOError:
        return given
    except BrokenPipeError:
        return b""


def end(process: subprocess.Popen[bytes]) -> None:
    """A sandbox's first process takes all the others with it."""
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # the kernel has it by then, or never will
        process.wait(START_SECONDS)
