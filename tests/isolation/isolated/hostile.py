"""What a model's text might do in a worker. Imported there by the tests of isolation; never run in this process."""

from __future__ import annotations

import builtins
import os
import signal
import socket
import sys
import time
from typing import Any

from groupwise.isolation.attempts import granted_accesses

PRELOADED = time.time()


def act(item: Any) -> Any:
    """Runs the deed of that name, tries all that the bait is for, or gives the item back."""
    if isinstance(item, dict):
        return granted_accesses(item)
    deed = DEEDS.get(item) if isinstance(item, str) else None
    return deed() if deed else item


def spin() -> None:
    while True:
        pass


def patch() -> str:
    builtins.len = lambda _: 7  # type: ignore[assignment]
    os.environ["PATCHED"] = "yes"
    return "patched"


def write(path: str) -> None:
    with open(path, "w") as file:
        file.write("x")


def flood() -> str:
    for _ in range(1000):
        print('{"value": 1}' * 100)
        os.write(1, b'{"value": 1}\n')
    return "flooded"


def describe() -> dict[str, Any]:
    return {
        "user": os.getuid(),
        "environment": sorted(os.environ),
        "home": os.environ.get("HOME"),
        "folder": os.listdir("."),
        "files": [number for number in range(60) if is_open(number)],
        "root": sorted(os.listdir("/")) if os.access("/python", os.F_OK) else [],
        "input": sys.stdin.read(),
    }


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


DEEDS: dict[str, Any] = {
    "spin": spin,
    "sleep": lambda: time.sleep(600),
    "allocate": lambda: len(bytearray(8 << 30)),
    "exit": lambda: os._exit(0),
    "sys.exit": lambda: sys.exit(0),
    "raise": lambda: 1 / 0,
    "recurse": lambda: act("recurse"),
    "shell": lambda: os.system(f"echo x > {MARK}"),
    "fork": os.fork,
    "connect": lambda: socket.socket().connect(("127.0.0.1", 9)),
    "write": lambda: write(MARK),
    "kill the worker": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "kill all": lambda: os.kill(-1, signal.SIGKILL),
    "forge nonsense": lambda: (os.write(3, b'["x"]'), os._exit(0)),
    "forge depth": lambda: (os.write(3, b'{"value": ' + b"[" * 30000 + b"]" * 30000 + b"}"), os._exit(0)),
    "no json": lambda: {1, 2},
    "flood": flood,
    "patch": patch,
    "is patched": lambda: [len([1]), "PATCHED" in os.environ],
    "describe": describe,
    "process": os.getpid,
}
MARK = "/tmp/groupwise-test-mark"
