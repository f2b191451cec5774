"""This module shuts a process in on this machine: bubblewrap, or else Landlock; or nothing, and then nothing is run.

Both come with limits and a filter on system calls, and both are believed only after a program of ours has tried in
them all that ``attempts.py`` has (:mod:`groupwise.isolation.trials`).
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Any, Literal

from groupwise.errors import UserError
from groupwise.isolation import bubblewrap, places
from groupwise.isolation.confinement import landlock_version
from groupwise.isolation.parcel import START, in_memory, pack
from groupwise.isolation.processes import process_creation
from groupwise.isolation.seccomp import call_filter

Kind = Literal["bubblewrap", "bubblewrap in a user namespace", "Landlock"]
_COMMON = (
    "no network",
    "no file but the interpreter's",
    "nothing to write",
    "no signal to others",
    "no process of its own",
    "no privilege",
    "system calls filtered",
    "limits",
)
_ISOLATED = ("-I", "-S", "-B", "-c", START)


@dataclass(frozen=True)
class Walls:
    """One way to shut a process in."""

    kind: Kind

    @property
    def guards(self) -> tuple[str, ...]:
        """Says in words what holds for what runs behind them."""
        return _COMMON if self.kind == "Landlock" else (*_COMMON, "own process tree", "own root directory")

    @property
    def is_bubblewrap(self) -> bool:
        """Says whether bubblewrap builds them."""
        return self.kind != "Landlock"

    def refuse_threads(self, wanted: bool) -> None:
        """Raises UserError where they are wanted of walls that cannot count them."""
        if wanted and not self.is_bubblewrap:
            raise UserError(
                "threads=True needs bubblewrap and namespaces, which can count a program's threads; here is Landlock "
                "alone: leave threads away, or allow namespaces to this user or container"
            )

    def start(
        self, settings: dict[str, Any], stdin: int | None, stdout: int | None, stderr: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """A process of ``inside.py`` with these settings; ``stdin`` and ``stdout`` None: nothing, a pipe.

        Raises UserError where the system gives no more processes, or threads are asked of walls that cannot count
        them.
        """
        channel = tuple(settings.get("channel", ()))
        given = [self._parcel(settings)]
        try:
            if self.is_bubblewrap:
                given.append(in_memory(call_filter(last=False, threads=settings["threads"])))
                command = bubblewrap.program_command(self.kind == "bubblewrap", given[1])
            else:
                command = [places.interpreter()]
            with process_creation("a program in the sandbox"):
                return subprocess.Popen(
                    [*command, *_ISOLATED, str(given[0])],
                    stdin=subprocess.DEVNULL if stdin is None else stdin,
                    stdout=subprocess.PIPE if stdout is None else stdout,
                    stderr=stderr,
                    pass_fds=(*given, *channel),
                    env={} if self.is_bubblewrap else environment(),
                    cwd="/",
                    start_new_session=True,
                )
        finally:
            for descriptor in given:
                os.close(descriptor)

    def _parcel(self, settings: dict[str, Any]) -> int:
        if self.is_bubblewrap:
            return pack(("limits", "plain_values", "inside"), settings | {"filter": None})
        self.refuse_threads(settings["threads"])
        return pack(("limits", "confinement", "plain_values", "inside"), settings | confinement_settings())


def confinement_settings() -> dict[str, Any]:
    """Returns what a process needs that shuts itself in with Landlock and its own filter."""
    return {
        "filter": call_filter(last=True),
        "readable": list(places.readable()),
        "listed": [str(places.standard_library())],
    }


def environment() -> dict[str, str]:
    """Returns all that a process with a reward in it is told."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **kept}


def candidates() -> list[Kind]:
    """Returns what may be tried here, the thickest first."""
    found: list[Kind] = []
    if bubblewrap.executable():
        found += ["bubblewrap"] if os.geteuid() == 0 else []
        found += ["bubblewrap in a user namespace"]
    return [*found, "Landlock"] if landlock_version() else found


def why_no_candidate() -> dict[str, str]:
    """Says of each way that cannot even be tried: why."""
    missing = {} if bubblewrap.executable() else {"bubblewrap": "there is no bwrap on the PATH, or this is not Linux"}
    return missing if landlock_version() else missing | {"Landlock": "the kernel has none, or does not grant it"}
