"""This module finds out which walls hold on this machine. They are not believed: a program tries all that it may not
do, and must fail."""

from __future__ import annotations

import functools
import json
import os
import platform
import site
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.isolation import seccomp
from groupwise.isolation.program_process import START_SECONDS, ProgramOutput, end, watch
from groupwise.isolation.walls import Kind, Walls, candidates, why_no_candidate

ATTEMPTS = Path(__file__).with_name("attempts.py")
MEMORY_BYTES = 256 << 20
TRIAL_SECONDS = 6 * START_SECONDS
_TEXT = "a file of the user's"
REFUSED = "what a model wrote is not run without guards"


@functools.cache
def walls() -> Walls:
    """The first that hold, tried out once in the life of this process. Raises UserError where none do."""
    reasons: dict[str, str] = {}
    for kind in candidates():
        if not (why := why_not(kind)):
            return Walls(kind)
        reasons[kind] = why
    reasons |= why_no_candidate()
    said = "; ".join(f"{kind}: {why}" for kind, why in reasons.items())
    raise UserError(
        f"{REFUSED}, and nothing here gives them: {said}. Install bubblewrap (Debian, Ubuntu: apt install bubblewrap) "
        "and allow namespaces to this user or container; or use Linux 5.13 or newer with Landlock, or a virtual machine"
    )


def why_not(kind: Kind) -> str:
    """Says why these walls do not hold; empty where they do; else what they grant, or why they do not stand."""
    with bait(MEMORY_BYTES) as known:
        try:
            ran, complaint = _tried(Walls(kind), json.dumps(known).encode() + b"\n")
        except OSError as error:  # an interpreter that may not be run again, say
            return f"it cannot work here ({error.strerror}: {error.filename})"
        harm = ["write a file"] if is_harmed(known) else []
    with suppress(ValueError):
        granted = dict.fromkeys([*json.loads(ran.output), *harm])
        return f"it does not hold: a program in it could {', '.join(granted)}" if granted else ""
    return f"it cannot work here ({complaint or ran.trouble})"


@contextmanager
def bait(memory_bytes: int) -> Iterator[dict[str, Any]]:
    """Makes what ``attempts.py`` goes for, as it reads it: a file, sockets and a process of ours."""
    with tempfile.TemporaryDirectory(prefix="groupwise-") as folder, _port() as server, _named(folder) as named:
        file = Path(folder, "file")
        file.write_text(_TEXT)
        for path, mode in ((Path(folder), 0o755), (file, 0o644)):
            path.chmod(mode)
        yield {
            "file": str(file),
            "home": os.path.expanduser("~"),
            "installed": _installed(),
            "port": server.getsockname()[1],
            "socket": named.getsockname(),
            "process": os.getpid(),
            "memory": memory_bytes,
            "calls": seccomp.calls(platform.machine(), *seccomp.DENIED),
        }


def is_harmed(known: dict[str, Any]) -> bool:
    """Says whether the file that a trial may not touch is other than it was."""
    file = Path(known["file"])
    return not file.exists() or file.read_text() != _TEXT or len(os.listdir(file.parent)) != 2


def _tried(walls: Walls, known: bytes) -> tuple[ProgramOutput, str]:
    """What the attempts say, and the last line on standard error."""
    reader, writer = os.pipe()
    settings = {
        "what": "program",
        "source": ATTEMPTS.read_bytes(),
        "seconds": int(TRIAL_SECONDS),
        "memory_bytes": MEMORY_BYTES,
        "threads": False,
    }
    with tempfile.TemporaryFile() as errors:
        process = walls.start(settings, reader, None, errors.fileno())
        os.close(reader)
        try:
            ran = watch(process, TRIAL_SECONDS, 1 << 16, writer, known)
        finally:
            end(process)
        errors.seek(0)
        lines = errors.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
    return ran, lines[-1][:200] if lines else ""


def _installed() -> str:
    """A file of an installed package, where there is one."""
    for folder in (*site.getsitepackages(), *sys.path):
        for path in sorted(Path(folder).glob("*/METADATA"))[:1]:
            return str(path)
    return os.devnull


def _port() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def _named(folder: str) -> socket.socket:
    """A socket with a file's name, as services have."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.join(folder, "socket"))
    os.chmod(os.path.join(folder, "socket"), 0o777)
    server.listen()
    return server


def isolation_record() -> dict[str, Any] | None:
    """Returns, for a record: what shuts in whatever is run here of a model's; None where nothing has asked for it so
    far."""
    if not walls.cache_info().currsize:
        return None
    held = walls()
    return {"by": held.kind, "guards": list(held.guards)}
