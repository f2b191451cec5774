"""The four kinds of caller that the guards are tried under: what stands before a command, so that it is run by one.

They stand for a root with all privileges, a user of a laptop or a cluster, a user in a container that grants no
namespaces, and a container's own root. A test asks :func:`prefix` and skips where this machine can't play the caller.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CALLERS = ("root", "plain user", "plain user without namespaces", "root without CAP_SYS_ADMIN")
USER = "12345"
HOUSE = Path(__file__).parents[2]
_USER = ("setpriv", "--reuid", USER, "--regid", USER, "--clear-groups")
_NO_NAMESPACES = ("bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--")
_NO_ADMINISTRATOR = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
COMMANDS = {
    "root": (),
    "plain user": _USER,
    "plain user without namespaces": (*_USER, *_NO_NAMESPACES),
    "root without CAP_SYS_ADMIN": _NO_ADMINISTRATOR,
}


def prefix(caller: str) -> list[str]:
    """The words before a command; skips the test where this machine can't play the caller."""
    if why := _unplayable(caller):
        pytest.skip(f"no {caller} here: {why}")
    return _command(caller)


def _command(caller: str) -> list[str]:
    return [*_reachable(), *COMMANDS[caller]] if COMMANDS[caller] else []


@functools.cache
def _unplayable(caller: str) -> str:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it takes root on Linux to become others"
    missing = [name for name in ("setpriv", "bwrap") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} not found"
    command = [*_command(caller), sys.executable, "-c", "import groupwise.errors"]
    environment = os.environ | {"PYTHONPATH": str(HOUSE / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    return done.stderr.strip()[-200:] if done.returncode else ""


@functools.cache
def _reachable() -> tuple[str, ...]:
    """Mounts that let other users reach an interpreter and a checkout that lie in a closed folder, and nothing else of
    that folder."""
    wanted = {Path(os.path.realpath(sys.executable)).parents[1], Path(sys.prefix), Path(sys.prefix).resolve(), HOUSE}
    closed = {folder: path for path in wanted for folder in path.parents if not folder.stat().st_mode & 0o001}
    tops = {folder for folder in closed if not closed.keys() & set(folder.parents)}
    if not tops:
        return ()
    covers = [word for folder in sorted(tops) for word in ("--tmpfs", str(folder))]
    binds: list[str] = []
    for path in sorted(path for path in wanted if tops & set(path.parents)):
        between = [folder for folder in reversed(path.parents) if tops & set(folder.parents)]
        binds += [word for folder in between for word in ("--dir", str(folder))]  # a bind's own would be closed
        binds += ["--bind", str(path), str(path)]
    return ("bwrap", "--dev-bind", "/", "/", "--cap-add", "ALL", *covers, *binds, "--")
