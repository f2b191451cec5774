"""How the bench and its workers talk: one JSON object a line, each order answered before the next is given.

A worker is a process of its own that lives as long as its case. While it waits for an order it is stopped, threads that
would spin and all, so that sides can take turns, step by step, on one machine.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Failed(Exception):  # noqa: N818 - the worker's, told by its last words
    """A worker ended instead of answering."""


class Worker:
    """The bench's end. ``ask`` sends an order and waits for the answer."""

    def __init__(self, script: str, log: Path, job: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self.log, self.job = log, job
        # Thread counts are the bench's to say.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "KMP_"))}
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**own, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **environment},
            )
        self.send(job)

    def ready(self) -> dict[str, Any]:
        """Waits until it can take orders; what it says of itself."""
        try:
            return self.answer()
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def ask(self, **order: Any) -> dict[str, Any]:
        self.process.send_signal(signal.SIGCONT)
        self.send(order)
        try:
            return self.answer()
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def send(self, order: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer then tells why
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Raises Failed with the last line of the worker's log where it ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            words = [text for text in self.log.read_text(errors="replace").splitlines() if text.strip()]
            raise Failed(f"{self.log.name}: {words[-1] if words else 'ended without a word'}")
        return json.loads(line)

    def stop(self) -> None:
        """Ends it; at once where it does not listen."""
        self.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Ended(Exception):  # noqa: N818 - the ordinary end of a worker
    """There are no more orders."""


class Channel:
    """The worker's end. What libraries print goes to the log."""

    def __init__(self) -> None:
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def hear(self) -> dict[str, Any]:
        """Raises Ended after the last order."""
        line = sys.stdin.readline()
        if not line:
            raise Ended
        return json.loads(line)

    def say(self, **answer: Any) -> None:
        self.out.write(json.dumps(answer) + "\n")
        self.out.flush()


class Memory:
    """Of this process, in MB."""

    def __init__(self) -> None:
        """From here on ``grown`` counts: everything is imported, and no model loaded."""
        gc.collect()
        with contextlib.suppress(OSError):  # then the peak of the imports counts too
            Path("/proc/self/clear_refs").write_text("5")
        self.before = _status("VmRSS")

    def figures(self) -> dict[str, float]:
        """``peak``: of the process, imports and model included. ``grown``: what the work took beside the imports."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"peak_mb": round(peak, 1), "grown_mb": round(_status("VmHWM") - self.before, 1)}


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1024
