"""This module runs an agent program once: what it is told, what it says last, and how it is ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from groupwise.serving.request import is_finite
from groupwise.types import Score

KEPT_BYTES = 1 << 16
"""Of the end of what it writes."""
SHOWN_LETTERS = 200
GRACE_SECONDS = 2.0
"""For the readers of a program that has ended, whose children may still hold its pipes."""


class AgentProcess:
    """A program under way, in a process group of its own."""

    def __init__(self, command: Sequence[str], row: Mapping[str, Any], address: str, token: str) -> None:
        told = {"OPENAI_BASE_URL": address, "OPENAI_API_BASE": address, "OPENAI_API_KEY": token}
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **told},
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._out, self._err = bytearray(), bytearray()
        data = json.dumps(dict(row), default=str).encode()
        self._threads = [
            threading.Thread(target=work, args=given, daemon=True)
            for work, given in (
                (_feed, (self._process.stdin, data)),
                (_keep_end, (self._process.stdout, self._out)),
                (_keep_end, (self._process.stderr, self._err)),
            )
        ]
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> Score:
        """Returns the reward that it says, or why it says none. It is over then, with all that it has begun."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Score(None, "timeout", reason=f"the program did not end within {seconds:g} s")
        finally:
            self.end()
        if self._process.returncode:
            said = " ".join(self._err.decode("utf-8", "replace").split())[-SHOWN_LETTERS:]
            return Score(None, "failed", reason=f"the program ended with {self._process.returncode}: {said or '-'}")
        return score_of(self._out.decode("utf-8", "replace"))

    def end(self) -> None:
        """Kills what is left of it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # one that stands in the kernel ends when it comes back
            self._process.wait(GRACE_SECONDS)
        for thread in self._threads:
            thread.join(GRACE_SECONDS)


def score_of(text: str) -> Score:
    """Reads a reward in the last line that is not empty: a number, or an object with ``reward`` and perhaps
    ``success``. ``not_applicable``: there is no line."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return Score(None, "not_applicable")
    try:
        found = json.loads(lines[-1])
    except (ValueError, RecursionError):
        found = None
    success = found.get("success") if isinstance(found, dict) else None
    value = found.get("reward") if isinstance(found, dict) else found
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        seen = lines[-1].strip()[:SHOWN_LETTERS]
        return Score(None, "failed", reason=f"its last line is {seen!r}; expected a number, or an object with reward")
    return Score(float(value), right=success if isinstance(success, bool) else None)


def _feed(pipe: IO[bytes], data: bytes) -> None:
    with suppress(OSError), pipe:
        pipe.write(data)


def _keep_end(pipe: IO[bytes], kept: bytearray) -> None:
    with suppress(OSError, ValueError), pipe:
        while chunk := pipe.read1(KEPT_BYTES):  # type: ignore[attr-defined]
            kept += chunk
            del kept[:-KEPT_BYTES]
