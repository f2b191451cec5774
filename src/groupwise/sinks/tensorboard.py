"""This sink writes TensorBoard event files as records of TensorBoard's own: one TensorBoard run for each stage, no
torch. TensorBoard's EventFileWriter would write them in a thread, whose errors are a traceback on the terminal."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.protocols import Sink

if TYPE_CHECKING:
    from tensorboard.summary.writer.record_writer import RecordWriter

VERSION = "brain.Event:2"
"""The first record of a file, which says how the others are read."""


class TensorBoard(Sink):
    """Writes each stage to ``directory/stage``, step by step. ``tensorboard --logdir DIRECTORY`` shows it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.writer: RecordWriter | None = None

    def stage(self, name: str, steps: int, start: int) -> None:
        """A resumed stage purges what an interrupted run wrote after step ``start``."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        if self.writer:
            self.writer.close()
        self.writer = _new_file(self.directory / name)
        self._write(Event(file_version=VERSION))
        self._write(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Writes a step's numbers to the event file of its stage."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=scalars)))

    def close(self, summary: Mapping[str, Any]) -> None:
        """Closes the event file that is open, if any is."""
        if self.writer:
            self.writer.close()

    def _write(self, event: Any) -> None:
        assert self.writer, "metrics come after stage()"
        event.wall_time = time.time()
        self.writer.write(event.SerializeToString())
        self.writer.flush()


def _new_file(directory: Path) -> RecordWriter:
    """An empty file of a name that TensorBoard looks for."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    directory.mkdir(parents=True, exist_ok=True)
    _wait_for_a_later_name(directory)
    name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.0"
    return RecordWriter((directory / name).open("wb"))


def _wait_for_a_later_name(directory: Path) -> None:
    """Waits for a later second where a file has this one's name: TensorBoard reads files in the order of their names,
    which begin with the second, so a second file of the same one might be read first, and its purge be lost."""
    newest = max((path.name for path in directory.glob("events.out.tfevents.*")), default="")
    second = newest.removeprefix("events.out.tfevents.").partition(".")[0]
    while second.isdecimal() and int(second) == int(time.time()):
        time.sleep(0.01)
