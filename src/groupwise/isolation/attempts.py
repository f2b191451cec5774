"""A program that tries what no program may do in a sandbox, and says what it was granted. Standard library only.

It reads one line of JSON (a file and a folder of the user's, a port that listens, processes, the memory that it has
and the numbers of system calls) and writes one: the names of what was granted.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_NEW_USER, _PRIVATE, _PIPE_SIZE, _SET_OWNER = 0x10000000, 0, 1031, 8
_OWN, _USER_KEYRING, _SEIZE = -3, -4, 0x4206


Attempts = list[tuple[str, Callable[[], Any]]]


def main() -> None:
    """Tries everything that it is told on standard input, and prints what was granted."""
    print(json.dumps(granted_accesses(json.loads(sys.stdin.readline()))))


def granted_accesses(known: dict[str, Any]) -> list[str]:
    """Returns the names of what this process was granted."""
    found: list[str] = []
    for attempts in (_files, _processes, _network, _memory, _calls):
        for what, deed in attempts(known):
            try:
                deed()
            except BaseException:
                continue
            found.append(what)
    return list(dict.fromkeys(found))


def _files(known: dict[str, Any]) -> Attempts:
    file, home = known["file"], known["home"]
    return [
        ("read /etc/passwd", lambda: open("/etc/passwd").read(1)),
        ("read a file of the user's", lambda: open(file).read(1)),
        ("read a file of the user's", lambda: os.listxattr(file)),
        ("list the user's files", lambda: os.listdir(home)[0]),
        ("list the user's files", lambda: os.listdir(os.path.dirname(file))[0]),
        ("read installed packages", lambda: open(known["installed"]).read(1)),
        ("read of other processes", lambda: open(f"/proc/{known['process']}/environ").read()),
        *[("write a file", lambda path=path: open(path, "w")) for path in ("/empty/x", "/x", "/tmp/x", "x")],
        ("write a file", lambda: open(file, "a")),
        ("write a file", lambda: os.truncate(file, 0)),
        ("write a file", lambda: os.unlink(file)),
        ("write a file", lambda: os.chmod(file, 0o600)),
        ("write a file", lambda: os.utime(file)),
        ("write a file", lambda: os.rename(file, file + ".x")),
        ("write a file", lambda: os.link(file, file + ".x")),
        ("write a file", lambda: os.symlink(file, file + ".x")),
        ("write a file", lambda: os.mkdir(file + ".x")),
        ("write a file", lambda: os.mkfifo(file + ".x")),
    ]


def _processes(known: dict[str, Any]) -> Attempts:
    process = known["process"]
    return [
        ("start a process", lambda: os.fork() or os._exit(0)),
        ("start a process", lambda: os.posix_spawn(sys.executable, ["x", "-c", ""], {})),
        ("start a thread", lambda: threading.Thread(target=int).start()),
        ("signal other processes", lambda: os.kill(process, 0)),
        ("signal other processes", lambda: fcntl.fcntl(0, _SET_OWNER, process)),
        ("signal other processes", lambda: signal.pidfd_send_signal(os.pidfd_open(process), 0)),
        ("change other processes", lambda: resource.prlimit(process, resource.RLIMIT_CORE)),
        ("change other processes", lambda: os.setpriority(os.PRIO_PROCESS, process, 19)),
        ("be root", lambda: os.setuid(0) if os.getuid() else os.chroot("/")),
        ("change the clock", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
    ]


def _network(known: dict[str, Any]) -> Attempts:
    def reach(family: int, kind: int, address: Any) -> None:
        with socket.socket(family, kind) as one:
            one.settimeout(0.2)
            one.connect(address)

    local, stream, datagrams = "127.0.0.1", socket.SOCK_STREAM, socket.SOCK_DGRAM
    return [
        ("reach the machine's network", lambda: reach(socket.AF_INET, stream, (local, known["port"]))),
        ("reach the machine's network", lambda: reach(socket.AF_INET, datagrams, (local, 9))),
        ("reach the machine's network", lambda: reach(socket.AF_UNIX, stream, known["socket"])),
        ("open a socket", lambda: socket.socket(socket.AF_UNIX)),
        ("send datagrams", lambda: socket.socketpair(socket.AF_UNIX, datagrams)),
    ]


def _memory(known: dict[str, Any]) -> Attempts:
    return [
        ("take all memory", lambda: bytearray(known["memory"] + 1)),
        ("open descriptors without end", lambda: [os.pipe() for _ in range(200)]),
        ("enlarge a pipe", lambda: fcntl.fcntl(os.pipe()[0], _PIPE_SIZE, 1 << 20)),
        ("have memory in a file", lambda: os.memfd_create("x")),
    ]


def _calls(known: dict[str, Any]) -> Attempts:
    """What has no name in Python. A call that the kernel knows and finds wrongly asked was let through."""
    libc, numbers, process = ctypes.CDLL(None, use_errno=True), known["calls"], known["process"]

    def call(name: str, *arguments: Any) -> None:
        if libc.syscall(numbers[name], *arguments) < 0 and ctypes.get_errno() != 22:
            raise OSError(ctypes.get_errno(), name)

    buffer = ctypes.create_string_buffer(256)
    asked: dict[str, tuple[str, tuple[Any, ...]]] = {
        "shmget": ("share memory", (_PRIVATE, 4096, 0o1600)),
        "semget": ("make semaphores", (_PRIVATE, 8, 0o1600)),
        "msgget": ("make a queue", (_PRIVATE, 0o1600)),
        "mq_open": ("make a queue", (b"groupwise", 0o102, 0o600, None)),
        "add_key": ("keep a key", (b"user", b"groupwise", b"x", 1, _OWN)),
        "keyctl": ("keep a key", (0, _USER_KEYRING, 0)),
        "request_key": ("keep a key", (b"user", b"groupwise", None, 0)),
        "unshare": ("have a namespace", (_NEW_USER,)),
        "mount": ("mount a disk", (b"x", b"/", b"tmpfs", 0, None)),
        "fsopen": ("mount a disk", (b"tmpfs", 0)),
        "open_tree": ("mount a disk", (-100, b"/", 1)),
        "pivot_root": ("mount a disk", (b"/", b"/")),
        "io_uring_setup": ("use io_uring", (2, buffer)),
        "io_setup": ("use asynchronous files", (1, buffer)),
        "userfaultfd": ("handle its own page faults", (1,)),
        "ptrace": ("trace processes", (_SEIZE, process, None, None)),
        "process_vm_readv": ("trace processes", (os.getpid(), None, 0, None, 0, 0)),
        "perf_event_open": ("measure the machine", (buffer, 0, -1, -1, 0)),
        "bpf": ("load a program into the kernel", (0, buffer, 64)),
        "inotify_init1": ("watch files", (0,)),
        "fanotify_init": ("watch files", (0, 0)),
        "mlock": ("lock memory", (buffer, 64)),
        "personality": ("have another personality", (0x0040000,)),
        "open_by_handle_at": ("open files by number", (0, buffer, 0)),
        "kcmp": ("compare processes", (os.getpid(), os.getpid(), 0, 0, 1)),
        "syslog": ("read the kernel's log", (10, None, 0)),
    }
    return [(what, functools.partial(call, name, *given)) for name, (what, given) in asked.items()]


if __name__ == "__main__":
    main()
