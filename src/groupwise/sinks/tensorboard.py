"""This sink writes TensorBoard event files through TensorBoard's own writer: one TensorBoard run for each stage, no
torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.protocols import Sink

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter


class TensorBoard(Sink):
    """Writes each stage to ``directory/stage``; flushed at every step. ``tensorboard --logdir DIRECTORY`` shows it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.writer: EventFileWriter | None = None

    def stage(self, name: str, steps: int, start: int) -> None:
        """A resumed stage purges what an interrupted run wrote after step ``start``."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self.writer:
            self.writer.close()
        self.writer = EventFileWriter(str(self.directory / name))
        self.writer.add_event(_stamped(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START))))
        self.writer.flush()

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        assert self.writer, "metrics come after stage()"
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.writer.add_event(_stamped(Event(step=step, summary=Summary(value=scalars))))
        self.writer.flush()

    def close(self, summary: Mapping[str, Any]) -> None:
        if self.writer:
            self.writer.close()


def _stamped(event: Any) -> Any:
    import time

    event.wall_time = time.time()
    return event
