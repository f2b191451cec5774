"""This module makes the command of bubblewrap: a root of its own with the interpreter in it, and no network, process or
privilege."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence

from groupwise.isolation.places import (
    INSTALLED,
    interpreter,
    other_pythons,
    own_libraries,
    shared_libraries,
    standard_library,
)

PYTHON = "/python/bin/python"
LIBRARY_PATH = "/python/lib"
SCRATCH = "/scratch"
"""A worker writes there until it is ready (packages keep caches), and closes it before it sees an item."""
_NAMESPACES = ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
_AS_ROOT = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
_AS_USER = ("--unshare-user", "--uid", "65534", "--gid", "65534")


def executable() -> str | None:
    """Returns where bubblewrap is; None where it is not installed."""
    return shutil.which("bwrap") if sys.platform == "linux" else None


def program_command(as_root: bool, call_filter: int) -> list[str]:
    """Returns the command up to the interpreter's own arguments. ``call_filter``: the descriptor of a filter on system
    calls."""
    environment = ("--clearenv", *_set(LANG="C.UTF-8", LD_LIBRARY_PATH=LIBRARY_PATH))
    return [
        *_command(as_root),
        *("--die-with-parent", "--new-session", "--seccomp", str(call_filter), *environment),
        *_interpreter(),
        *_end(),
    ]


def worker_command(as_root: bool, readable: Sequence[str]) -> list[str]:
    """Returns the command of a process that starts others and must end them, with these folders to read besides."""
    inside = [word for path in readable for word in (*_folders(os.path.dirname(path)), "--ro-bind", path, path)]
    return [
        *(*_command(as_root), "--as-pid-1", *(("--cap-add", "CAP_KILL") if as_root else ())),
        *_set(LD_LIBRARY_PATH=LIBRARY_PATH, HOME=SCRATCH, TMPDIR=SCRATCH),
        *(*_interpreter(), *inside, "--dir", "/dev", "--dev-bind", os.devnull, os.devnull, "--tmpfs", SCRATCH),
        *_end(),
    ]


def _command(as_root: bool) -> list[str]:
    return [str(executable()), *_NAMESPACES, "--cap-drop", "ALL", *(_AS_ROOT if as_root else _AS_USER)]


def _end() -> list[str]:
    closed = [word for path in (*_hidden(), "/") for word in ("--remount-ro", path)]
    return ["--dir", "/empty", *closed, "--chdir", "/empty", "--", PYTHON]


def _set(**values: str) -> list[str]:
    return [word for name, value in values.items() for word in ("--setenv", name, value)]


def _folders(path: str) -> list[str]:
    """Made before what lies in them: what a bind makes, its owner alone reads."""
    parts = path.strip("/").split("/")
    return [word for end in range(1, len(parts) + 1) for word in ("--dir", "/" + "/".join(parts[:end]))]


@functools.cache
def _interpreter() -> tuple[str, ...]:
    """This one and its standard library, under a name that says nothing of where they lie."""
    library, linked, inside = standard_library(), own_libraries(), _inside()
    words = [*_folders("/python/bin"), *_folders("/python/lib"), *_folders(inside)]
    words += _linked_libraries() if linked is None else ["--ro-bind", str(linked), LIBRARY_PATH]
    words += ["--ro-bind", interpreter(), PYTHON, "--ro-bind", str(library), inside]
    for path in shared_libraries():
        words += [*_folders(os.path.dirname(path)), "--ro-bind-try", path, path]
    for folder in ("/lib", "/lib64"):
        words += ["--symlink", os.readlink(folder), folder] if os.path.islink(folder) else []
    return (*words, *(word for path in _hidden() for word in ("--tmpfs", path)))


def _inside() -> str:
    return f"/python/{sys.platlibdir}/{standard_library().name}"


@functools.cache
def _hidden() -> tuple[str, ...]:
    """Folders of packages inside what is bound: an empty one stands before each."""
    installed = [f"{_inside()}/{name}" for name in INSTALLED if (standard_library() / name).is_dir()]
    return (*installed, *(path for folder in shared_libraries() for path in other_pythons(folder)))


def _linked_libraries() -> list[str]:

    folder, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
    return ["--ro-bind-try", f"{folder}/{name}", f"{LIBRARY_PATH}/{name}"]
