"""The program of one isolated worker. Standard library only: it is run by its path, not imported.

It imports one function of ours, then answers one line of JSON with one line of JSON, for ever::

    {"function": "module:name", "path": [...], "warm_up": [...], "memory_bytes": 1}  ->  {"guards": ["no network", ...]}
    {"item": ..., "seconds": 5.0}                    ->  {"value": ...} or {"timeout": true} or {"failed": "why"}

Every item is run in a process of its own, forked from this one after the imports, so nothing that an item does
(patch a module, eat memory, hang) reaches the next one. :mod:`groupwise.rewards.isolation` says what the guards give.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

UNPRIVILEGED = 65534  # nobody, on every Linux
REPLY_BYTES = 16 << 20
_REPLY = 3

# <linux/sched.h>, <sys/mount.h>, <linux/prctl.h>; the system call's number is the same on every architecture.
_NEW_USER, _NEW_PID, _NEW_NET, _NEW_IPC, _NEW_MOUNTS = 0x10000000, 0x20000000, 0x40000000, 0x08000000, 0x00020000
_MOUNT_PRIVATE, _MOUNT_SETATTR, _RECURSIVE, _READ_ONLY, _CURRENT_DIRECTORY = 0x44000, 442, 0x8000, 1, -100
_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38


def main() -> None:
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    setup = json.loads(requests.readline())
    try:
        function = _prepare(setup)
    except Exception as error:
        _write(replies, {"broken": f"{type(error).__name__}: {error}"})
        return
    guards = enter_namespaces()
    _write(replies, {"guards": guards})
    while line := requests.readline():
        request = json.loads(line)
        _write(replies, run(function, request["item"], request["seconds"], setup["memory_bytes"], requests))


def _prepare(setup: dict[str, Any]) -> Callable[[Any], Any]:
    """The function, imported and run on the warm-up items, so that all it loads lazily is loaded."""
    sys.path[:] = setup["path"]
    module, _, name = setup["function"].partition(":")
    function: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    for item in setup["warm_up"]:
        function(item)
    nowhere = tempfile.mkdtemp(prefix="groupwise-")
    os.chmod(nowhere, 0o555)
    os.chdir(nowhere)
    os.rmdir(nowhere)  # the working directory is empty and nothing can be made in it, and nothing is left to clean up
    return function


def enter_namespaces() -> list[str]:
    """Leave the network, other processes and a writable disk behind, where the kernel allows; says which it did.

    Returns in a forked child, process 1 of its namespace: when it ends, by whatever cause, the kernel ends all
    that it ever started.
    """
    guards = ["another user"] if os.geteuid() == 0 else []
    if sys.platform != "linux":
        return guards
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        libc.unshare(_NEW_USER)  # without it the kernel grants a plain user none of the others
    if libc.unshare(_NEW_NET) == 0:
        guards.append("no network")
    libc.unshare(_NEW_IPC)
    if libc.unshare(_NEW_MOUNTS) == 0 and _make_disk_read_only(libc):
        guards.append("read-only disk")
    if libc.unshare(_NEW_PID) == 0:
        guards.append("own process tree")
        _continue_in_child(libc)
    return guards


def _make_disk_read_only(libc: ctypes.CDLL) -> bool:
    if libc.mount(None, b"/", None, _MOUNT_PRIVATE, None) != 0:
        return False
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY, 0, 0, 0)
    size = ctypes.sizeof(attributes)
    return bool(libc.syscall(_MOUNT_SETATTR, _CURRENT_DIRECTORY, b"/", _RECURSIVE, attributes, size) == 0)


def _continue_in_child(libc: ctypes.CDLL) -> None:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os._exit(0)
    libc.prctl(_DEATH_SIGNAL, signal.SIGKILL)
    libc.mount(b"proc", b"/proc", b"proc", _READ_ONLY, None)  # or /proc goes on showing everybody's processes


def run(function: Callable[[Any], Any], item: Any, seconds: float, memory_bytes: int, lifeline: Any) -> dict[str, Any]:
    """One item in one process, ended with all it started. Exits where the caller's end of ``lifeline`` is closed."""
    read, write = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(read)
        _run_in_child(function, item, seconds, memory_bytes, write)
    os.close(write)
    try:
        reply = _read_reply(read, started + seconds, lifeline)
    finally:
        os.close(read)
        _kill(child)
    if reply is None:
        return {"timeout": True}
    try:
        answer = json.loads(reply)
    except (ValueError, RecursionError):
        return {"failed": "its process ended without an answer"}
    forged = not isinstance(answer, dict) or answer.keys() not in ({"value"}, {"failed"})
    return {"failed": "its process gave no proper answer"} if forged else answer


def _read_reply(read: int, deadline: float, lifeline: Any) -> bytes | None:
    """All that the item's process wrote until it closed the pipe; None where time ran out first."""
    reply = b""
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([read, lifeline], [], [], left)
        if lifeline in ready:
            raise SystemExit("the caller has gone")
        if read in ready:
            chunk = os.read(read, 65536)
            if not chunk or len(reply) > REPLY_BYTES:
                return reply
            reply += chunk
    return None


def _run_in_child(function: Callable[[Any], Any], item: Any, seconds: float, memory_bytes: int, write: int) -> None:
    """Never returns. No file is open but standard input and output, which lead nowhere, and the reply."""
    os.dup2(write, _REPLY)
    os.closerange(_REPLY + 1, os.sysconf("SC_OPEN_MAX"))
    try:
        _restrict(seconds, memory_bytes)
        answer = json.dumps({"value": function(item)})
    except Exception as error:
        answer = json.dumps({"failed": f"{type(error).__name__}: {str(error)[:200]}"})
    try:
        with os.fdopen(_REPLY, "wb") as reply:
            reply.write(answer.encode())
    finally:
        os._exit(0)


def _restrict(seconds: float, memory_bytes: int) -> None:
    os.setsid()
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: int(seconds) + 2,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(UNPRIVILEGED)
        os.setuid(UNPRIVILEGED)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        libc.prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _kill(child: int) -> None:
    """The item's process, its group, and (in a process tree of our own) whatever escaped from both."""
    _kill_everything()
    for kill, target in ((os.killpg, child), (os.kill, child)):
        with suppress(ProcessLookupError):
            kill(target, signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _kill_everything() -> None:
    if os.getpid() == 1:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)


def _write(replies: Any, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message).encode() + b"\n")
    replies.flush()


if __name__ == "__main__":
    main()
