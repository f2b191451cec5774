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
        """Tells every sink that a stage begins, and at which step."""
        self._each(lambda sink: sink.stage(name, steps, start))

    def phase(self, name: str, done: int, total: int) -> None:
        """Tells every sink how far something of a step has come."""
        self._each(lambda sink: sink.phase(name, done, total))

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Tells every sink the numbers of a step."""
        self._each(lambda sink: sink.metrics(stage, step, values))

    def completions(self, name: str, chosen: Mapping[str, SampleCompletion]) -> None:
        """Tells every sink the best, the worst and a random completion of an evaluation."""
        self._each(lambda sink: sink.completions(name, chosen))

    def note(self, text: str) -> None:
        """Tells every sink a line for people."""
        self._each(lambda sink: sink.note(text))

    def close(self, summary: Mapping[str, Any]) -> None:
        """Closes every sink, the essential ones whatever happens to others."""
        with ExitStack() as stack:
            for sink in reversed(self.essential):
                stack.callback(sink.close, summary)
            self._call(lambda sink: sink.close(summary))

    def _each(self, call: Callable[[Sink], None]) -> None:
        self._call(call)
        for sink in self.essential:
            call(sink)

    def _call(self, call: Callable[[Sink], None]) -> None:
        """Calls the sinks that may be dropped."""
        dropped = [why for sink in tuple(self.sinks) if (why := self._failed(sink, call))]
        for why in dropped:
            self.note(why)

    def _failed(self, sink: Sink, call: Callable[[Sink], None]) -> str:
        """Returns what went wrong in a sink, which is dropped then; empty where nothing did."""
        try:
            call(sink)
        except Exception as error:
            self.sinks.remove(sink)
            said = " ".join(str(error).split())
            return f"sink {_name(sink)}: dropped, the run goes on without it: {type(error).__name__}: {said}"
        return ""


def _name(sink: Sink) -> str:
    return str(vars(sink).get("name") or type(sink).__name__)
