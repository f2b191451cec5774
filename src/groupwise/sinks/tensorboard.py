"""This sink writes TensorBoard event files through TensorBoard's own writer: one TensorBoard run for each stage, no
torch."""

from __future__ import annotations

import time
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
        _wait_for_a_later_name(self.directory / name)
        self.writer = EventFileWriter(str(self.directory / name))
        self.writer.add_event(_stamped(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START))))
        self.writer.flush()

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Writes a step's numbers to the event file of its stage."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        assert self.writer, "metrics come after stage()"
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self.writer.add_event(_stamped(Event(step=step, summary=Summary(value=scalars))))
        self.writer.flush()

    def close(self, summary: Mapping[str, Any]) -> None:
        """Closes the event file that is open, if any is."""
        if self.writer:
            self.writer.close()


def _wait_for_a_later_name(directory: Path) -> None:
    """Waits for a later second where a file has this one's name: TensorBoard reads files in the order of their names,
    which begin with the second, so a second file of the same one might be read first, and its purge be lost."""
    newest = max((path.name for path in directory.glob("events.out.tfevents.*")), default="")
    second = newest.removeprefix("events.out.tfevents.").partition(".")[0]
    while second.isdecimal() and int(second) == int(time.time()):
        time.sleep(0.01)


def _stamped(event: Any) -> Any:
    event.wall_time = time.time()
    return event
