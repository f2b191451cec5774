"""This module runs in the processes of :mod:`groupwise.isolation.fork_server`: a server that forks workers, and a
worker.

The fork server is forked from the caller once. It runs no code of a user's and has one thread, so the workers that it
forks begin clean, however the caller's threads stand by then. Where we are root the fork server is process 1 of a
process tree of its own: nothing in it can signal it or anything outside, and all that a worker ever started ends with
that worker.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import json
import os
import pickle
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

Respond = Callable[[Sequence[Any], float], Iterator[tuple[int, dict[str, Any]]]]
"""``(calls, seconds) -> (number of the call, plain JSON)``, each as soon as it is known."""

Serve = Callable[[socket.socket], None]
"""What a worker does with its connection, until the caller hangs up."""

FORK, KILL, READY = b"f", b"k", b"r"
_NEW_MOUNTS, _NEW_PID = 0x00020000, 0x20000000
_MOUNT_SLAVE, _MOUNT_READ_ONLY = 0x84000, 1
_DEATH_SIGNAL, _SUBREAPER = 1, 36
_DUMP_SECONDS = 0.05


def serve_forks(control: socket.socket, serve: Serve, memory_bytes: int, strangers: Sequence[int]) -> NoReturn:
    """Follows orders: fork a worker on this connection, or kill it. Ends with the caller's end of ``control``.

    ``strangers``: descriptors of the caller's that a process which outlives it must not hold open.
    """
    worker = 0
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in strangers:
            os.dup2(nothing, descriptor)  # not closed: the caller's objects still believe in them
        _settle(nothing)
        control.sendall(READY)
        while True:
            order, descriptors, _, _ = socket.recv_fds(control, 1, 2)
            _end_all(worker, look=order == KILL)
            if not order:
                os._exit(0)
            worker = 0
            if order == FORK:
                worker = os.fork()
                if not worker:
                    control.close()
                    _work(descriptors, serve, memory_bytes)
            for descriptor in descriptors:
                os.close(descriptor)
            control.sendall(order)
    finally:
        os._exit(1)


def _settle(nothing: int) -> None:
    """A session without a terminal, none of the caller's handlers, one thread, and a process tree where we may."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGCHLD):  # the kernel buries what dies here, orphans too
        signal.signal(number, signal.SIG_IGN)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    os.dup2(nothing, 0)
    asyncio._set_running_loop(None)  # of a notebook
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # its pool of threads did not come along
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    may = os.geteuid() == 0 and libc.unshare(_NEW_MOUNTS) == 0
    if may and libc.mount(None, b"/", None, _MOUNT_SLAVE, None) == 0 and libc.unshare(_NEW_PID) == 0:
        child = os.fork()
        if child:
            with suppress(ChildProcessError):
                os.waitpid(child, 0)
            os._exit(0)
        libc.prctl(_DEATH_SIGNAL, signal.SIGKILL)
        libc.mount(b"proc", b"/proc", b"proc", _MOUNT_READ_ONLY, None)


def _end_all(worker: int, look: bool) -> None:
    """The worker and all that it started; ``look``: it writes down first where it stands."""
    if worker and look:
        with suppress(OSError):
            os.kill(worker, signal.SIGUSR1)
        time.sleep(_DUMP_SECONDS)
    while True:
        with suppress(OSError):
            if os.getpid() == 1:
                os.kill(-1, signal.SIGKILL)
            elif worker:
                os.killpg(worker, signal.SIGKILL)
        for child in _children():
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        time.sleep(0.001)


def _children() -> list[int]:
    """Where the kernel tells: what escaped from the worker's group is ours since its parent died."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(number) for number in file.read().split()]
    except OSError:
        return []


def _work(descriptors: Sequence[int], serve: Serve, memory_bytes: int) -> NoReturn:
    """Serves the caller until it hangs up."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        connection = socket.socket(fileno=descriptors[0])
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        _write_down_where_it_stands(descriptors[1])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit_memory(memory_bytes)
        serve(connection)
    finally:
        os._exit(1)


def _write_down_where_it_stands(notes: int) -> None:
    """The innermost frame is written where the process crashes, or when SIGUSR1 comes.

    The caller may have asked for the same before, and a library have taken the signals since, as Ray does when it is
    shut down: faulthandler would believe that its handlers still stand, so they are taken away first.
    """
    faulthandler.disable()
    faulthandler.enable(notes, all_threads=False)
    faulthandler.unregister(signal.SIGUSR1)
    faulthandler.register(signal.SIGUSR1, file=notes, all_threads=False)


def answer_batches(connection: socket.socket, respond: Respond) -> None:
    """Answers batch after batch. A copy of the process that a call forks says nothing."""
    own, requests = os.getpid(), connection.makefile("rb")
    while header := requests.read(8):
        request = requests.read(int.from_bytes(header, "big"))
        _seed(request)
        calls, seconds = pickle.loads(request)
        for number, answer in respond(calls, seconds):
            if os.getpid() != own:
                os._exit(0)
            connection.sendall(json.dumps([number, answer]).encode() + b"\n")


def _seed(request: bytes) -> None:
    """The global random numbers depend on what is asked alone: a run that is continued hears the same."""
    random.seed(request)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(random.getrandbits(32))


def _limit_memory(more: int) -> None:
    """So many bytes beyond what the process was forked with."""
    with suppress(OSError, ValueError):  # a lower limit than ours may stand
        with open("/proc/self/statm") as file:
            present = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (present + more, present + more))
