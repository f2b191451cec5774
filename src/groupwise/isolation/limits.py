"""This module bounds a process, and gives it another user. Standard library only: it also goes to processes of a
sandbox."""

from __future__ import annotations

import os
import resource

NOBODY = 65534
DESCRIPTORS = 64
THREADS = 512
"""Where threads are allowed: of all processes of that user at once."""


def limit(seconds: int, memory_bytes: int, threads: bool = False) -> None:
    """Sets bounds of the process. ``seconds``: of processor time."""
    limit_output()
    limit_work(seconds, memory_bytes, threads)


def limit_output() -> None:
    """Sets the bounds that whoever forks others may have, too, and they inherit: nothing written, locked or queued."""
    for name in ("FSIZE", "CORE", "MEMLOCK", "MSGQUEUE", "SIGPENDING", "RTPRIO", "NICE"):
        if hasattr(resource, f"RLIMIT_{name}"):
            _lower(getattr(resource, f"RLIMIT_{name}"), DESCRIPTORS if name == "SIGPENDING" else 0)


def limit_work(seconds: int, memory_bytes: int, threads: bool = False) -> None:
    """Sets the bounds of a process that computes."""
    _lower(resource.RLIMIT_AS, memory_bytes)
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_NPROC, THREADS if threads else 0)
    _lower(resource.RLIMIT_NOFILE, DESCRIPTORS)


def _lower(which: int, value: int) -> None:
    _, most = resource.getrlimit(which)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(which, (value, value))


def become_nobody(keeps: str = "") -> None:
    """Takes another user where we are root. ``keeps``: only where root may become one, who could then read that
    file."""
    if os.geteuid() != 0 or (keeps and not _is_open_to_nobody(keeps)):
        return
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _is_open_to_nobody(path: str) -> bool:
    try:
        os.setgroups([])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        return os.access(path, os.R_OK, effective_ids=True)
    except PermissionError:  # a container's root without that privilege stays root, without any
        return False
    finally:
        os.seteuid(0)
        os.setegid(0)
