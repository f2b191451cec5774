"""Where a run tells what it does: the terminal, files, dashboards. Each takes what it wants of ``protocols.Sink``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from groupwise.protocols import Sink
from groupwise.types import Group


class Sinks:
    """Several sinks as one. Each is called in order; ``close`` reaches every one even where an earlier one raises."""

    def __init__(self, *sinks: Sink) -> None:
        self.sinks = sinks

    def stage(self, name: str, steps: int, start: int) -> None:
        for sink in self.sinks:
            sink.stage(name, steps, start)

    def phase(self, name: str, done: int, total: int) -> None:
        for sink in self.sinks:
            sink.phase(name, done, total)

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        for sink in self.sinks:
            sink.metrics(stage, step, values)

    def groups(self, stage: str, step: int, groups: Sequence[Group], coefficients: Sequence[Sequence[float]]) -> None:
        for sink in self.sinks:
            sink.groups(stage, step, groups, coefficients)

    def note(self, text: str) -> None:
        for sink in self.sinks:
            sink.note(text)

    def close(self, summary: Mapping[str, Any]) -> None:
        with ExitStack() as stack:
            for sink in reversed(self.sinks):
                stack.callback(sink.close, summary)
