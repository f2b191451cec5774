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
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

STARTS_WITHIN, LOOKS_EVERY = 600.0, 2.0


def run(
    arguments: Sequence[str],
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 1200.0,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs ``python *arguments`` and returns what it printed and how it ended. Raises as ``subprocess.run`` does."""
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as line:
        _connect(line)
        out, err = (Path(place) / name for name in ("out", "err"))
        wish = {
            "arguments": list(arguments),
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
        }
        line.sendall(json.dumps({**wish, "out": str(out), "err": str(err)}).encode() + b"\n")
        line.settimeout(timeout)
        answers = line.makefile("r")
        pid = int(answers.readline())
        try:
            status = int(answers.readline())
        except TimeoutError:
            os.killpg(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(wish["arguments"], timeout, out.read_bytes(), err.read_bytes()) from None
        done = subprocess.CompletedProcess(wish["arguments"], status, out.read_text(), err.read_text())
    if check:
        done.check_returncode()
    return done


def _connect(line: socket.socket) -> None:
    """To the one process of this session, which is started by whoever comes first."""
    owner = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    place = Path(tempfile.gettempdir()) / f"groupwise-warm-{os.getuid()}-{owner}"
    place.mkdir(mode=0o700, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            line.connect(str(place / "socket"))
        except (FileNotFoundError, ConnectionRefusedError):
            (place / "socket").unlink(missing_ok=True)
            whole = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
            command = [sys.executable, __file__, str(place / "socket"), str(whole)]
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
    wish = json.loads(line.makefile("r").readline())
    child = os.fork()
    if child:
        with suppress(BrokenPipeError):  # nobody waits any more
            line.sendall(f"{child}\n".encode())
            _, status = os.waitpid(child, 0)
            line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    line.close()
    return dict(wish)


def become(wish: dict[str, Any]) -> None:
    """Is ``python *arguments`` from here on."""
    os.setsid()
    for number, path, how in (
        (0, os.devnull, os.O_RDONLY),
        (1, wish["out"], os.O_WRONLY),
        (2, wish["err"], os.O_WRONLY),
    ):
        opened = os.open(path, how | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
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
