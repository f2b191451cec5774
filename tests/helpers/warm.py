"""A Python that has loaded torch and transformers already, and becomes whatever a test would start as a process.

Loading them takes three seconds of a processor, and a hundred tests start a process that does. One process of the whole
session loads them once and forks: what a fork runs is a process of its own, with arguments, directory, environment and
exit status as ``subprocess.run`` gives them, and it loads Groupwise itself. What a process is started with that takes
effect before Python runs, such as LD_PRELOAD or limits of the allocator, needs a real start and is not for here.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Any

STARTS_WITHIN, LOOKS_EVERY, WAITS = 600.0, 2.0, 1200.0
COMMAND = (sys.executable, "-S", "-E", str(Path(__file__).with_name("warm_python.py")))
"""What starts a fork where somebody else starts a Python; arguments follow."""
OWNER = "GROUPWISE_TESTS_OWNER"
"""The variable with the number of the process whose end is that of the warm one: the first of a session that asks."""


class Process:
    """A process as ``subprocess.Popen`` shows one: what a fork has become, which is no child of this one.

    Behind ``stdin``, ``stdout`` and ``stderr`` stand descriptors of this process, or pipes where PIPE is given. One
    that ``follows`` is killed where this process ends before it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int = DEVNULL,
        stdout: int = PIPE,
        stderr: int = PIPE,
        text: bool = True,
        follows: bool = False,
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        wish: dict[str, Any] = {"arguments": self.args, "cwd": str(cwd or Path.cwd()), "follows": follows}
        wish["env"] = dict(os.environ if env is None else env)
        given = [stdin, stdout, stderr]
        pipes = [os.pipe() if each == PIPE else None for each in given]
        theirs = [pipe[number > 0] if pipe else given[number] for number, pipe in enumerate(pipes)]
        theirs = [theirs[1] if each == STDOUT else each for each in theirs]
        with open(os.devnull, "r+b") as nothing, _line() as line:
            ends = [nothing.fileno() if each == DEVNULL else each for each in theirs]
            data = json.dumps(wish).encode() + b"\n"
            socket.send_fds(line, [data[:1]], ends)
            line.sendall(data[1:])
            self._line = line.dup()
        for number, pipe in enumerate(pipes):
            if pipe:
                os.close(theirs[number])
        kept = [None if pipe is None else pipe[number == 0] for number, pipe in enumerate(pipes)]
        self.stdin = None if kept[0] is None else os.fdopen(kept[0], "w" if text else "wb")
        self.stdout, self.stderr = (
            None if each is None else os.fdopen(each, "r" if text else "rb") for each in kept[1:]
        )
        self.pid = int(self._answer())

    def _answer(self) -> str:
        """The next line of what the warm process says; not a byte more, so that what waits can be seen."""
        said = b""
        while not said.endswith(b"\n"):
            part = self._line.recv(1)
            assert part, "the warm process has ended"
            said += part
        return said.decode()

    def wait(self, timeout: float | None = WAITS) -> int:
        """Its exit status. Raises as ``subprocess.Popen`` does."""
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._answer())
            self._line.close()
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def communicate(self, timeout: float = WAITS) -> tuple[Any, Any]:
        """What it says until it has ended. Raises as ``subprocess.Popen`` does."""
        if self.stdin and not self.stdin.closed:
            self.stdin.close()
        pipes = [pipe if pipe and not pipe.closed else None for pipe in (self.stdout, self.stderr)]
        with ThreadPoolExecutor(2) as readers:
            said = [readers.submit(pipe.read) if pipe else None for pipe in pipes]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return tuple(each.result(timeout) if each else None for each in said)  # type: ignore[return-value]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    arguments: Sequence[str],
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = WAITS,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs ``python *arguments`` and returns what it printed and how it ended. Raises as ``subprocess.run`` does."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = Process(arguments, cwd, env, stdout=out.fileno(), stderr=err.fileno())
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        said = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in (out, err)]
    done = subprocess.CompletedProcess(process.args, process.wait(), *said)
    if check:
        done.check_returncode()
    return done


def executable(folder: Path) -> str:
    """Makes the same in a file that is one word, as others want a Python named."""
    place = folder / "python"
    place.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    place.chmod(0o755)
    return str(place)


def _line() -> socket.socket:
    """To the one process of this session, which is started by whoever comes first."""
    line = socket.socket(socket.AF_UNIX)
    owner = os.environ.setdefault(OWNER, str(os.getpid()))
    place = Path(tempfile.gettempdir()) / f"groupwise-warm-{os.getuid()}-{owner}"
    place.mkdir(mode=0o700, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            line.connect(str(place / "socket"))
        except (FileNotFoundError, ConnectionRefusedError):
            (place / "socket").unlink(missing_ok=True)
            command = [sys.executable, __file__, str(place / "socket"), owner]
            quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=os.environ | quiet, start_new_session=True
            )
            until = time.monotonic() + STARTS_WITHIN
            while not (place / "socket").exists():
                assert started.poll() is None, "the warm process ended"
                assert time.monotonic() < until, "the warm process does not listen"
                time.sleep(0.02)
            line.connect(str(place / "socket"))
    return line


def serve(path: str, owner: int) -> dict[str, Any]:
    """Forks for every wish, until the owner is gone; returns in the fork, with what it shall be."""
    _load()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{path}.new")
        door.listen(64)
        os.rename(f"{path}.new", path)  # it is there once it can be used
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while _there(owner):
            if not select.select([door], [], [], LOOKS_EVERY)[0]:
                continue
            line, _ = door.accept()
            if not os.fork():
                door.close()
                return _attend(line)
            line.close()
    for name in (path, str(Path(path).with_name("lock"))):
        Path(name).unlink(missing_ok=True)
    Path(path).parent.rmdir()
    sys.exit()


def _load() -> None:
    import safetensors.torch
    import torch
    import transformers

    torch.set_num_threads(1)
    os.fsync = os.fstat  # type: ignore[assignment]  # as in conftest.py
    for name in ("AutoModelForCausalLM", "AutoTokenizer", "GenerationConfig", "Qwen3ForCausalLM", "Qwen3Config"):
        getattr(transformers, name)
    assert safetensors.torch
    gc.freeze()


def _there(owner: int) -> bool:
    try:
        os.kill(owner, 0)
    except ProcessLookupError:
        return False
    return True


def _attend(line: socket.socket) -> dict[str, Any]:
    """Waits for a further fork, and tells its number and its end; in that fork, returns what it shall be."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, ends, _, _ = socket.recv_fds(line, 1 << 16, 3)
    while not text.endswith(b"\n"):
        text += line.recv(1 << 16)
    wish = json.loads(text)
    child = os.fork()
    if child:
        for end in ends:
            os.close(end)
        with suppress(BrokenPipeError):  # nobody waits any more
            line.sendall(f"{child}\n".encode())
            if wish["follows"]:
                ended = os.pidfd_open(child)
                if ended not in select.select([line, ended], [], [])[0]:
                    os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    line.close()
    return {**wish, "ends": ends}


def become(wish: dict[str, Any]) -> None:
    """Is ``python *arguments`` from here on."""
    if wish["follows"]:
        os.setpgid(0, 0)  # a terminal that it opens does not become its own, whose end would be its end
    else:
        os.setsid()
    for number, end in enumerate(wish["ends"]):
        os.dup2(end, number)
        os.close(end)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.reconfigure(line_buffering=number == 2 or os.isatty(number))  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever tests in the background has it ignored
    os.chdir(wish["cwd"])
    os.environ.clear()
    os.environ.update(wish["env"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[:1] = []
    known = set(sys.path)
    sys.path[:0] = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each and each not in known]
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    first, *rest = wish["arguments"]
    if first == "-u":
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
        first, *rest = rest
    if first == "-m":
        sys.argv = [rest[0], *rest[1:]]
        sys.path.insert(0, wish["cwd"])
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        space = vars(sys.modules["__main__"])
        for name in set(space) - {"__name__", "__builtins__", "__doc__", "__loader__", "__spec__", "__package__"}:
            del space[name]
        exec(compile(rest[0], "<string>", "exec"), space)
    else:
        sys.argv = [first, *rest]
        script = Path(first)
        sys.path.insert(0, str((script if script.is_dir() else script.parent).resolve()))
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    become(serve(sys.argv[1], int(sys.argv[2])))
