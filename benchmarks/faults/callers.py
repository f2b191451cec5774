"""Who calls: root, a plain user, one without user namespaces, and root without the right to make them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PLAIN_ID = 12345
HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
_PLAIN = ("setpriv", f"--reuid={PLAIN_ID}", f"--regid={PLAIN_ID}", "--clear-groups")
_NO_NAMESPACES = ("bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--")
_LESS = "-sys_admin,-sys_ptrace,-sys_resource,-sys_module,-net_admin,-ipc_lock,-sys_rawio"
CALLERS: dict[str, tuple[str, ...]] = {
    "root": (),
    "plain user": _PLAIN,
    "plain user without namespaces": (*_PLAIN, *_NO_NAMESPACES),
    "root without CAP_SYS_ADMIN": ("setpriv", f"--bounding-set={_LESS}", f"--inh-caps={_LESS}"),
}
"""What stands before a command of theirs. The second stands for a laptop, the others for containers."""
_SHOWN = """
set -e
mount -t tmpfs tmpfs "$0"
n=0
cover=$1; shift
for path in $COVERED; do n=$((n+1)); mkdir "$0/$n"; mount --bind "$path" "$0/$n"; done
mount -t tmpfs -o mode=755 tmpfs "$cover"
n=0
for path in $COVERED; do n=$((n+1)); mkdir -p "$path"; mount --bind "$0/$n" "$path"; done
exec "$@"
"""
"""Puts an empty folder over one that a plain user may not enter, and what Python needs of it back into that."""


def present() -> dict[str, tuple[str, ...]]:
    """The callers that can be tried here, each with what stands before its command."""
    if os.geteuid() == 0:
        return {name: command for name, command in CALLERS.items() if not command or shutil.which(command[0])}
    mine = {"plain user": ()}
    return mine | ({"plain user without namespaces": _NO_NAMESPACES} if _works(_NO_NAMESPACES) else {})


def _works(command: tuple[str, ...]) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run([*command, "true"], check=False).returncode == 0


def opened(command: tuple[str, ...], place: Path) -> tuple[list[str], dict[str, str]]:
    """The caller's command and an environment for it, in which it can read Python and this checkout."""
    needed = [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT]
    covered = next((folder for path in needed if (folder := _closed(path)) is not None), None)
    if not command or command[0] != "setpriv" or "reuid" not in command[1] or covered is None:
        return list(command), {}
    inside = [str(path) for path in needed if path.is_relative_to(covered)]
    scratch = place / "mounts"
    scratch.mkdir(exist_ok=True)
    shown = ["unshare", "--mount", "--propagation=private", "sh", "-c", _SHOWN, str(scratch), str(covered), *command]
    return shown, {"COVERED": " ".join(inside)}


def _closed(path: Path) -> Path | None:
    """The first folder on the way that only its owner may enter."""
    return next((one for one in [*path.parents][::-1] if not one.stat().st_mode & 0o001), None)


def owner(name: str) -> int:
    """The id of the user that the caller is."""
    return PLAIN_ID if name.startswith("plain") and os.geteuid() == 0 else os.geteuid()
