"""This module has pages turned into text by a process that is ended where a page takes too much, and begun again."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, cast

from groupwise.corpus.extraction import Extract, Text
from groupwise.corpus.page_process import answer_of, send

PATIENCE = 20.0
"""A page's time on the clock is so many times that of the processor: a busy machine drops no page."""
START_SECONDS = 300.0


class PageReader:
    """This reader owns the process. What a page does to it reaches no other page."""

    def __init__(self, extract: Extract) -> None:
        self.extract = extract
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PageReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, body: bytes, charset: str) -> Text | tuple[str, str]:
        """The text of a page, or why there is none: reason and evidence."""
        process = self._process or self._start()
        try:
            send(cast("IO[bytes]", process.stdin), (body, charset))  # type: ignore[arg-type]
            answer = self._receive(process, PATIENCE * self.extract.seconds)
        except (BrokenPipeError, ConnectionResetError):
            answer = None
        if isinstance(answer, dict) and (text := _text(answer)) is not None:
            return text
        if isinstance(answer, str):
            return ("memory", f"more than {self.extract.megabytes:,} MB") if answer == "memory" else ("error", answer)
        if answer is not None:
            self.close()
            return "error", "its process gave no proper answer"
        return self._why(process)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "groupwise.corpus.page_process"]
        paths = os.pathsep.join(each for each in sys.path if each)
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self._process = process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        send(cast("IO[bytes]", process.stdin), self.extract)  # type: ignore[arg-type]
        if not self._waits_for(process, START_SECONDS):
            self.close()
            raise RuntimeError("the process that reads pages did not start")
        if process.stdout is None or len(process.stdout.peek(1)) == 0:  # type: ignore[attr-defined]
            self.close()
            raise RuntimeError("the process that reads pages ended at its start")
        answer_of(process.stdout)  # type: ignore[arg-type]
        return process

    def _waits_for(self, process: subprocess.Popen[bytes], seconds: float) -> bool:
        assert process.stdout is not None
        waiting = select.poll()
        waiting.register(process.stdout, select.POLLIN)
        return bool(waiting.poll(1000 * seconds))

    def _receive(self, process: subprocess.Popen[bytes], seconds: float) -> object:
        assert process.stdout is not None
        if not self._waits_for(process, seconds):
            process.send_signal(signal.SIGPROF)  # as the kernel's timer does
            return None
        return answer_of(process.stdout)  # type: ignore[arg-type]

    def _why(self, process: subprocess.Popen[bytes]) -> tuple[str, str]:
        self._process = None
        code = _ended(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        if code == -signal.SIGPROF:
            return "time", f"more than {self.extract.seconds:g} s"
        return "crash", f"its process ended with {code}"

    def close(self) -> None:
        """Ends the process that reads pages, where there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate(timeout=START_SECONDS)


def _text(answer: dict[str, Any]) -> Text | None:
    """What was read; None for what is no text."""
    kinds = {"text": str, "language": str, "seen": int, "kept": int}
    if answer.keys() != kinds.keys() or any(type(answer[name]) is not kind for name, kind in kinds.items()):
        return None
    return Text(**answer)


def _ended(process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + 30.0
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    if process.poll() is None:
        process.kill()
    return process.wait(timeout=START_SECONDS)
