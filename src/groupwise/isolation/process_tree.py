"""This module counts processes and threads: of one process's own tree, and, as a cheap first look, of the machine."""

from __future__ import annotations

import os


def tasks_of_machine() -> int | None:
    """Counts processes and threads of all users, in one short read; None where the system does not tell."""
    try:
        with open("/proc/loadavg") as file:
            return int(file.read().split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return None


def tasks_below(pid: int) -> int:
    """Counts threads of all processes that descend from ``pid``, which itself is not counted; 0 where the system does
    not tell. A process whose parent died counts where its new parent is one of them."""
    children: dict[int, list[int]] = {}
    threads: dict[int, int] = {}
    for name in _listed("/proc"):
        if name.isdigit() and (found := _stat(name)) is not None:
            parent, threads[int(name)] = found
            children.setdefault(parent, []).append(int(name))
    total, waiting, seen = 0, [*children.get(pid, ())], {pid}
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue  # a number that was taken again while we looked
        seen.add(each)
        total += threads[each]
        waiting += children.get(each, ())
    return total


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _stat(pid: str) -> tuple[int, int] | None:
    """Parent and number of threads; None where it is gone. What precedes the last bracket is a name of any letters."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[1]), int(fields[17])
    except (OSError, IndexError, ValueError):
        return None
