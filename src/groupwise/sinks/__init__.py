"""Sinks are where a run tells what it does: the terminal, files, dashboards. Each takes what it wants of
``protocols.Sink``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from groupwise.protocols import Sink

if TYPE_CHECKING:
    from groupwise.output.sample_completions import SampleCompletion


class Sinks(Sink):
    """These are several sinks as one, each called in order.

    One that raises is named once, with its error, and hears no more: the run goes on. Not so the ``essential`` ones,
    without which a run cannot be continued: their errors are the run's.
    """

    def __init__(self, *sinks: Sink, essential: Sequence[Sink] = ()) -> None:
        self.sinks, self.essential = list(sinks), tuple(essential)

    def stage(self, name: str, steps: int, start: int) -> None:
        self._each(lambda sink: sink.stage(name, steps, start))

    def phase(self, name: str, done: int, total: int) -> None:
        self._each(lambda sink: sink.phase(name, done, total))

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self._each(lambda sink: sink.metrics(stage, step, values))

    def completions(self, name: str, chosen: Mapping[str, SampleCompletion]) -> None:
        self._each(lambda sink: sink.completions(name, chosen))

    def note(self, text: str) -> None:
        self._each(lambda sink: sink.note(text))

    def close(self, summary: Mapping[str, Any]) -> None:
        with ExitStack() as stack:
            for sink in reversed(self.essential):
                stack.callback(sink.close, summary)
            self._call(lambda sink: sink.close(summary))

    def _each(self, call: Callable[[Sink], None]) -> None:
        self._call(call)
        for sink in self.essential:
            call(sink)

    def _call(self, call: Callable[[Sink], None]) -> None:
        """Of those that may be dropped."""
        dropped = [why for sink in tuple(self.sinks) if (why := self._failed(sink, call))]
        for why in dropped:
            self.note(why)

    def _failed(self, sink: Sink, call: Callable[[Sink], None]) -> str:
        """What went wrong in a sink, which is dropped then; empty where nothing did."""
        try:
            call(sink)
        except Exception as error:
            self.sinks.remove(sink)
            said = " ".join(str(error).split())
            return f"sink {_name(sink)}: dropped, the run goes on without it: {type(error).__name__}: {said}"
        return ""


def _name(sink: Sink) -> str:
    return str(vars(sink).get("name") or type(sink).__name__)
