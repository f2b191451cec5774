"""Where programs run that a model wrote: bubblewrap, or nowhere.

What a program has there: the interpreter and its standard library to read, a clock, its standard input and output,
and no more. No network (not even the machine's own), no other file, nothing it can write, no other process, no
further process or thread, no environment, no privilege (the user nobody, without capabilities), and limits on time,
memory and output. :meth:`Sandbox.check` does not believe this: it runs a program that tries all of it, and
refuses where anything is granted. What remains is the kernel itself: a virtual machine is a thicker wall.
"""

from __future__ import annotations

import functools
import json
import math
import os
import selectors
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from groupwise.errors import UserError
from groupwise.rewards.processes import asked_of_the_system

PYTHON = "/python/bin/python"
INSIDE = Path(__file__).with_name("sandbox_inside.py")
SOURCE_BYTES = 60_000
"""Of a program: what a pipe holds without a reader."""
START_SECONDS = 5.0
"""More than its own limit: starting and ending a sandbox on a busy machine."""


@dataclass(frozen=True)
class Ran:
    """What a program did: its output, and why it did not end well (empty: it did)."""

    output: bytes
    trouble: str = ""


@dataclass(frozen=True)
class Sandbox:
    """Runs programs under bubblewrap. All calls have a deadline."""

    time_limit_seconds: float = 5.0
    memory_bytes: int = 512 << 20
    output_bytes: int = 1 << 20

    def check(self) -> None:
        """Raises UserError where there is no bubblewrap, it cannot work, or it grants what it should not."""
        granted = _granted(self)
        if granted:
            raise UserError(
                f"bubblewrap is here and does not hold: a program in it could {', '.join(granted)}; programs that a "
                "model wrote are not run without these guards; run on Linux with namespaces, or in a virtual machine"
            )

    def program(self, source: bytes, given: bytes) -> Ran:
        """Standard output of a program that reads ``given``."""
        reader, writer = os.pipe()
        process = self._start("program", source, reader)
        os.close(reader)
        try:
            return self._watch(process, writer, given)
        finally:
            _end(process)

    def test(self, source: bytes, test: bytes) -> Ran:
        """``passed`` where a test runs to its end with the functions of ``source``, which run in another sandbox."""
        (questions, asks), (answers, says) = os.pipe(), os.pipe()
        answering = self._start("functions", source, questions, stdout=says)
        testing = self._start("tests", test, None, channel=(answers, asks))
        for descriptor in (questions, asks, answers, says):
            os.close(descriptor)
        try:
            return self._watch(testing, None, b"")
        finally:
            _end(testing)
            _end(answering)

    def _start(
        self, what: str, source: bytes, stdin: int | None, stdout: int | None = None, channel: tuple[int, ...] = ()
    ) -> subprocess.Popen[bytes]:
        read, write = os.pipe()
        with open(write, "wb") as file:
            file.write(source)
        limits = (str(math.ceil(self.time_limit_seconds) + 1), str(self.memory_bytes))
        inside = [PYTHON, "-I", "-S", "-B", "-c", INSIDE.read_text(encoding="utf-8"), what, str(read), *limits]
        try:
            with asked_of_the_system("a program in the sandbox"):
                return subprocess.Popen(
                    [*_bubblewrap(), *inside, *map(str, channel)],
                    stdin=subprocess.DEVNULL if stdin is None else stdin,
                    stdout=subprocess.PIPE if stdout is None else stdout,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(read, *channel),
                    env={},
                    start_new_session=True,
                )
        finally:
            os.close(read)

    def _watch(self, process: subprocess.Popen[bytes], writer: int | None, given: bytes) -> Ran:
        """Feed it and hear it until it ends, says too much or takes too long."""
        deadline = time.monotonic() + self.time_limit_seconds
        stream, output, ended = cast(IO[bytes], process.stdout), b"", False
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if writer is not None:
                os.set_blocking(writer, False)
                selector.register(writer, selectors.EVENT_WRITE)
            try:
                while not ended and time.monotonic() < deadline and len(output) <= self.output_bytes:
                    for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                        if key.fileobj is stream:
                            chunk = os.read(stream.fileno(), 1 << 16)
                            output, ended = output + chunk, not chunk
                        elif writer is not None and not (given := _fed(writer, given)):
                            selector.unregister(writer)
                            os.close(writer)
                            writer = None
            finally:
                if writer is not None:
                    os.close(writer)
        if not ended:
            return Ran(output, "output" if len(output) > self.output_bytes else "time")
        try:
            status = process.wait(max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Ran(output, "time")
        return Ran(output, f"exit status {status}" if status else "")


def _fed(writer: int, given: bytes) -> bytes:
    """What is left to write; nothing where nobody reads any more."""
    try:
        return given[os.write(writer, given[: 1 << 16]) :]
    except BlockingIOError:
        return given
    except BrokenPipeError:
        return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    """bubblewrap's first process takes all the others with it."""
    if process.stdout:
        process.stdout.close()
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # the kernel has it by then, or never will
        process.wait(START_SECONDS)


@functools.cache
def _bubblewrap() -> tuple[str, ...]:
    """The command up to the program. Raises UserError where there is none."""
    command = shutil.which("bwrap") if sys.platform == "linux" else None
    if command is None:
        raise UserError(
            "programs that a model wrote are run in bubblewrap alone, and there is no bwrap on the PATH; install it "
            "(Debian, Ubuntu: apt install bubblewrap), on Linux"
        )
    links = [argument for folder in ("/lib", "/lib64") for argument in _linked(folder)]
    user = (
        ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        if os.geteuid() == 0
        else ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    )
    return (
        command,
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *("--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", *user),
        *(
            "--setenv",
            "LANG",
            "C.UTF-8",
            "--setenv",
            "PYTHONHASHSEED",
            "0",
            "--setenv",
            "LD_LIBRARY_PATH",
            "/python/lib",
        ),
        *(*_interpreter(), *_read("/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"), *links),
        *("--dir", "/empty", "--remount-ro", "/"),
        *("--chdir", "/empty", "--"),
    )


def _linked(folder: str) -> list[str]:
    if os.path.islink(folder):
        return ["--symlink", os.readlink(folder), folder]
    return ["--ro-bind-try", folder, folder]


def _read(*paths: str) -> list[str]:
    return [argument for path in paths for argument in ("--ro-bind-try", path, path)]


def _interpreter() -> list[str]:
    """This one and its standard library, under a name that says nothing of where they lie."""
    library = Path(sysconfig.get_path("stdlib"))
    shared, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
    folders = ("/python", "/python/bin", "/python/lib", f"/python/{sys.platlibdir}", "/usr", "/usr/local")
    return [
        *(argument for folder in folders for argument in ("--dir", folder)),  # what a bind makes, its owner alone reads
        *("--ro-bind", os.path.realpath(sys.executable), PYTHON),
        *("--ro-bind", str(library), f"/python/{sys.platlibdir}/{library.name}"),
        *("--ro-bind-try", f"{shared}/{name}", f"/python/lib/{name}"),
    ]


_TRIALS = """
import ctypes, json, os, resource, socket, sys, threading
granted = []

def tries(what, deed):
    try:
        deed()
    except BaseException:
        return
    granted.append(what)

def reach(kind, address):
    with socket.socket(kind) as one:
        one.settimeout(0.2)
        one.connect(address)

def listen():
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        one.listen()
        other.connect(one.getsockname())

tries("read /etc/passwd", lambda: open("/etc/passwd").read(1))
tries("read a file of the user's", lambda: open(%(file)r).read(1))
tries("list the user's files", lambda: os.listdir(%(home)r)[0])
tries("write a file", lambda: open("/empty/x", "w"))
tries("write a file", lambda: open("/x", "w"))
tries("write a file", lambda: open(%(file)r, "a"))
tries("start a process", lambda: os.fork() or os._exit(0))
tries("start a thread", lambda: threading.Thread(target=int).start())
tries("reach the machine's network", lambda: reach(socket.AF_INET, ("127.0.0.1", %(port)d)))
tries("be root", lambda: os.setuid(0))
tries("mount a disk", lambda: 1 // (ctypes.CDLL(None).mount(b"x", b"/empty", b"tmpfs", 0, None) == 0))
tries("see other processes", lambda: os.kill(%(process)d, 0))
tries("take all memory", lambda: bytearray(%(memory)d + 1))
print(json.dumps(granted))
"""


@functools.cache
def _granted(sandbox: Sandbox) -> tuple[str, ...]:
    """What a program got that it should not, with a file and a port of ours. Raises UserError where none runs."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        trials = _TRIALS % {
            "file": str(INSIDE),
            "home": os.path.expanduser("~"),
            "port": server.getsockname()[1],
            "process": os.getpid(),
            "memory": sandbox.memory_bytes,
        }
        ran = Sandbox(START_SECONDS * 2, sandbox.memory_bytes).program(trials.encode(), b"")
    with suppress(ValueError):
        return tuple(dict.fromkeys(json.loads(ran.output)))
    raise UserError(
        f"bubblewrap cannot work here ({_complaint()}); programs that a model wrote are not run without it; allow "
        "namespaces to this user or container"
    )


def _complaint() -> str:
    """What it says itself."""
    command = [*_bubblewrap(), PYTHON, "-I", "-S", "-c", "pass"]
    try:
        done = subprocess.run(command, capture_output=True, env={}, timeout=START_SECONDS * 2, check=False)
    except subprocess.TimeoutExpired:
        return "it does not come back"
    said = " ".join(done.stderr.decode("utf-8", "replace").split())[:200]
    return said or f"exit status {done.returncode}"
