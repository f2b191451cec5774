"""This module asks what another method would have done with a step: a child process answers, with the code and the
words of ``groupwise explain``."""

from __future__ import annotations

import json
import os
import re
import selectors
import shlex
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from groupwise.errors import UserError

SECONDS = 180.0
"""For one answer; the child is ended behind it."""
MOST_OPTIONS = 20
_METHOD = re.compile(r"[A-Za-z0-9_.+\- ]{1,60}")
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
OWN = {"case", "run", "step", "stage", "against", "judge", "json", "help", "options"}
"""Options of the command that no page may give: they name files."""


class WhatIf:
    """A child process that explains: begun at the first question, since it loads torch, and kept."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, run: Path, stage: str, step: int, method: str, options: str) -> str:
        """Returns what ``explain METHOD --run RUN --stage STAGE --step STEP --json`` prints. Raises UserError with the
        command's own words where it refuses."""
        if not _METHOD.fullmatch(method) or method.startswith("-"):
            raise UserError(f"{method[:60]!r} is no method's name")
        place = ["--run", str(run), "--stage", stage, "--step", str(step), "--json"]
        with self._lock:
            answer = self._ask([method, *place, *option_words(options)])
        if "error" in answer:
            raise UserError(str(answer["error"]))
        return str(answer["said"])

    def close(self) -> None:
        """Ends the child process that answers, if one runs."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait(timeout=60)
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    with suppress(OSError):  # what it was to be told still lies in it, and nobody reads it any more
                        pipe.close()

    def _ask(self, words: Sequence[str]) -> dict[str, str]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(list(words)).encode() + b"\n")
            stdin.flush()
            line = _line(stdout)
        except OSError:
            line = b""
        if not line:
            self.close()
            raise UserError(f"the process that explains ended, or gave no answer in {SECONDS:.0f} s; ask again")
        found: dict[str, str] = json.loads(line)
        return found


def option_words(text: str) -> list[str]:
    """Returns options as the command line takes them, of ``kl.coefficient=0 objective.high=0.28`` or ``--beta 0``.
    Raises UserError for what is no option of a method."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"options {text[:60]!r}: {error}") from None
    if len(words) > 2 * MOST_OPTIONS:
        raise UserError(f"{len(words)} words of options; expected {2 * MOST_OPTIONS} at most")
    found: list[str] = []
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") and not equals and found:
            found[-1] += f"={word}" if "=" not in found[-1] else f" {word}"
            continue
        name = name.replace("-", "_")
        if not _OPTION.fullmatch(name) or name.partition(".")[0] in OWN:
            raise UserError(f"{word[:60]!r} is no option of a method; expected NAME=VALUE, such as kl.coefficient=0")
        found.append(f"--{name}={value}" if equals else f"--{name}")
    return found


def _line(stdout: object) -> bytes:
    """Reads one line, however long, within the time; nothing where the child has ended."""
    until, parts = time.monotonic() + SECONDS, []
    with selectors.DefaultSelector() as ready:
        ready.register(stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
        while ready.select(max(0.0, until - time.monotonic())):
            part = os.read(stdout.fileno(), 1 << 20)  # type: ignore[attr-defined]
            parts.append(part)
            if not part or part.endswith(b"\n"):
                return b"".join(parts)
    return b""
