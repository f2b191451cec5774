"""A fork server as its caller sees it, and the one worker in it: a process that can be killed with all it started.

See :mod:`groupwise.isolation.fork_server_child` for what runs there.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import tempfile
import time
import weakref
from contextlib import suppress

from groupwise.errors import UserError
from groupwise.isolation.fork_server_child import FORK, KILL, READY, Serve, serve_forks
from groupwise.isolation.pool import START_SECONDS
from groupwise.isolation.processes import process_creation

GRACE_SECONDS = 1.0
"""A call that watches its own limit says so by then."""
_FRAME = re.compile(r'File "([^"\n]*)", line (\d+) in (.*)')
_ours: weakref.WeakSet[socket.socket] = weakref.WeakSet()


class ForkServer:
    """The caller's side of one fork server, whose workers do what ``serve`` does. ``what`` they are for, and what may
    be done where none can be made (``otherwise``), is said in errors."""

    def __init__(self, serve: Serve, memory_bytes: int, what: str, otherwise: str = "") -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # whatever stands there; what waits in it would be written twice
                stream.flush()
        self._control, theirs = socket.socketpair()
        self.worker: Worker | None = None
        self._owner = os.getpid()
        strangers = [number for each in (*_ours, self._control) if (number := each.fileno()) >= 0]  # closed: -1
        with process_creation(what):
            self.pid = os.fork()
        if not self.pid:
            serve_forks(theirs, serve, memory_bytes, strangers)
        theirs.close()
        _ours.add(self._control)
        self._control.settimeout(START_SECONDS)
        if self._reply() != READY:
            self.end()
            raise UserError(f"a process for {what} did not start in {START_SECONDS:g} s, or died{otherwise}")

    def alive(self) -> bool:
        """Says whether it can be asked, in this process."""
        return self._owner == os.getpid() and self._control.fileno() >= 0

    def new_worker(self) -> Worker:
        """Has the fork server fork a worker, and returns it once it is there."""
        worker = self.worker = Worker()
        with suppress(OSError):
            socket.send_fds(self._control, [FORK], [worker.theirs.fileno(), worker.notes.fileno()])
        worker.theirs.close()
        self._reply()
        return worker

    def end_worker(self) -> str:
        """Kills the worker and says where it stood. A fork server that does not answer is ended with it."""
        worker, self.worker = self.worker, None
        assert worker is not None
        with suppress(OSError):
            self._control.sendall(KILL)
        if self._reply() != KILL:
            self.end()
        place = worker.place()
        worker.close()
        return place

    def end(self) -> None:
        """Ends the fork server and all in it."""
        if self._owner != os.getpid() or self._control.fileno() < 0:
            return
        self._control.close()
        if self.worker:
            self.worker.close()
        deadline = time.monotonic() + GRACE_SECONDS
        with suppress(ChildProcessError):
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(self.pid, signal.SIGKILL)
                time.sleep(0.001)

    def _reply(self) -> bytes:
        try:
            return self._control.recv(1)
        except OSError:
            return b""


class Worker:
    """This is the caller's end of a worker's connection."""

    def __init__(self) -> None:
        self.connection, self.theirs = socket.socketpair()
        self.notes = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self.fresh = True
        self.buffer = b""
        _ours.add(self.connection)

    def place(self) -> str:
        """Returns what the worker wrote down of where it stood: the innermost frame."""
        said = os.pread(self.notes.fileno(), 1 << 16, 0)  # the worker has moved the place that both read and write at
        frame = _FRAME.search(said.decode("utf-8", "replace"))
        return f", it stood in {frame[3]} at {frame[1]}:{frame[2]}" if frame else ""

    def close(self) -> None:
        """Hangs up, and waits for nothing."""
        self.connection.close()
        self.notes.close()

    def read(self) -> bytes:
        """Returns what has come; nothing where it has ended."""
        try:
            return self.connection.recv(1 << 16)
        except OSError:
            return b""
