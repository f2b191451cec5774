"""A sandbox runs programs that a model wrote: behind walls that were tried out, or nowhere.

What a program has there: the interpreter and its standard library to read, a clock, its standard input and output,
and no more. No network (not even the machine's own), no other file, nothing it can write, no signal to another
process, no further process, no environment, no privilege, and limits on time, memory, descriptors and output;
``docs/isolation.md`` says which guard is for what. What remains is the kernel itself: a virtual machine is a thicker
wall.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.isolation.program_process import ProgramOutput, end, watch
from groupwise.isolation.trials import walls

SOURCE_BYTES = 60_000
"""Of a program or a test."""


@dataclass(frozen=True)
class Sandbox:
    """Runs programs where they can do no harm. All calls have a deadline."""

    time_limit_seconds: float = 5.0
    memory_bytes: int = 512 << 20
    output_bytes: int = 1 << 20
    threads: bool = False
    """Whether a program may start threads; processes never."""

    def check(self) -> None:
        """Raises UserError where nothing here holds a program."""
        walls().refuse_threads(self.threads)

    def program(self, source: bytes, given: bytes) -> ProgramOutput:
        """Returns the standard output of a program that reads ``given``."""
        reader, writer = os.pipe()
        try:
            process = self._start("program", source, reader)
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        try:
            return watch(process, self.time_limit_seconds, self.output_bytes, writer, given)
        finally:
            end(process)

    def test(self, source: bytes, test: bytes, names: Sequence[str]) -> ProgramOutput:
        """Says ``passed`` where a test runs to its end with those functions of ``source``, which run in another
        sandbox."""
        (questions, asks), (answers, says) = os.pipe(), os.pipe()
        try:
            answering = self._start("functions", source, questions, stdout=says)
            try:
                testing = self._start("tests", test, None, channel=(answers, asks), names=list(names))
            except BaseException:
                end(answering)
                raise
        finally:
            for descriptor in (questions, asks, answers, says):
                os.close(descriptor)
        try:
            return watch(testing, self.time_limit_seconds, self.output_bytes)
        finally:
            end(testing)
            end(answering)

    def _start(
        self, what: str, source: bytes, stdin: int | None, stdout: int | None = None, **more: Any
    ) -> subprocess.Popen[bytes]:
        settings = {
            "what": what,
            "source": source,
            "seconds": math.ceil(self.time_limit_seconds) + 1,
            "memory_bytes": self.memory_bytes,
            "threads": self.threads,
        }
        return walls().start(settings | more, stdin, stdout)
