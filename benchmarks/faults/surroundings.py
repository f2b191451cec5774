"""What lies around an attempt and must stay as it is: files, a process, and listeners that nobody should reach."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

TOKEN = "Vq27lanternHALF88quartz"
"""In a file that its owner alone reads, and in the environment of the run."""
Files = dict[str, tuple[int, int, bytes]]


def snapshot(place: Path) -> Files:
    """Mode, time of change and content (or where it leads) of all below ``place``."""
    found = {}
    for path in sorted(place.rglob("*")):
        about = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(place))] = (about.st_mode, about.st_mtime_ns if content else 0, content)
    return found


def changed(before: Files, after: Files) -> str:
    """The names of what is not as it was."""
    return ", ".join(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)))


def make_home(place: Path) -> Path:
    """A user's files: a thesis, a key, a token."""
    home = place / "home"
    for name, content in (("Documents/thesis.tex", "thesis"), (".ssh/id_ed25519", "key"), (".cache/token", TOKEN)):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
        (home / name).chmod(0o600)
    return home


class Surroundings:
    """A home, a sleeping process, a TCP and a UDP port and two sockets, watched."""

    def __init__(self, place: Path) -> None:
        self.home = make_home(place)
        self.heard: list[str] = []
        self._sockets = [self._tcp(), self._udp(), self._abstract(), self._file(place / "socket")]
        self.victim = subprocess.Popen(["sleep", "3600"])
        self._before = snapshot(self.home)
        self._priority = os.getpriority(os.PRIO_PROCESS, self.victim.pid)
        self._name = os.uname().nodename
        for each in self._sockets:
            threading.Thread(target=self._listen, args=(each,), daemon=True).start()

    def facts(self) -> dict[str, Any]:
        """What an attacker may know of them."""
        return {
            "port": self._sockets[0].getsockname()[1],
            "datagrams": self._sockets[1].getsockname()[1],
            "abstract": self._sockets[2].getsockname()[1:].decode(),
            "socket": self._sockets[3].getsockname(),
            "victim": self.victim.pid,
            "run": os.getpid(),
            "home": str(self.home),
            "token": str(self.home / ".cache/token"),
            "precious": str(self.home / "Documents/thesis.tex"),
            "secret": TOKEN,
        }

    def harmed(self) -> tuple[str, str]:
        """An outcome and its detail, or two empty texts where all is as it was. What was harmed is made whole."""
        if self.heard:
            return "ESCAPED", f"it was heard at {self.heard.pop()}"
        if self.victim.poll() is not None:
            self.victim = subprocess.Popen(["sleep", "3600"])
            return "TOUCHED", "a process was ended"
        if os.getpriority(os.PRIO_PROCESS, self.victim.pid) != self._priority:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.victim.pid, self._priority)
            self._priority = os.getpriority(os.PRIO_PROCESS, self.victim.pid)
            return "TOUCHED", "a process runs with another priority"
        if os.uname().nodename != self._name:
            return "TOUCHED", "the machine has another name"
        if differences := changed(self._before, snapshot(self.home)):
            make_home(self.home.parent)
            self._before = snapshot(self.home)
            return "TOUCHED", differences
        return "", ""

    def close(self) -> None:
        """Ends the process and the listeners."""
        self.victim.kill()
        self.victim.wait()
        for each in self._sockets:
            each.close()

    def _listen(self, one: socket.socket) -> None:
        kind = f"{one.family.name} {one.type.name}"
        with contextlib.suppress(OSError):
            while True:
                if one.type == socket.SOCK_DGRAM:
                    one.recv(64)
                    self.heard.append(kind)
                    continue
                other, _ = one.accept()
                self.heard.append(kind)
                other.close()

    @staticmethod
    def _tcp() -> socket.socket:
        try:
            return socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError:
            return socket.create_server(("127.0.0.1", 0))

    @staticmethod
    def _udp() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("127.0.0.1", 0))
        return one

    @staticmethod
    def _abstract() -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.bind(f"\0groupwise-{os.getpid()}-{time.monotonic_ns()}")
        one.listen()
        return one

    @staticmethod
    def _file(path: Path) -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.bind(str(path))
        path.chmod(0o777)
        one.listen()
        return one
