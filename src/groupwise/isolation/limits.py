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
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: THREADS if threads else 0,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_MEMLOCK: 0,
    }
    for name in ("RLIMIT_MSGQUEUE", "RLIMIT_SIGPENDING", "RLIMIT_RTPRIO", "RLIMIT_NICE"):
        if hasattr(resource, name):
            limits[getattr(resource, name)] = DESCRIPTORS if name == "RLIMIT_SIGPENDING" else 0
    for which, value in limits.items():
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
