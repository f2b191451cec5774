"""This module is what a process asks of the kernel to shut itself in: no privilege, Landlock, a filter on system calls.

Standard library only, and no import of ours: this module also goes to processes that cannot read this package.
Everything here raises OSError where the kernel does not do it; nothing is skipped. What is done cannot be undone, and
all that the process starts inherits it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Sequence

OWN_PROCESS = b"\xef\xbe\xad\x6f"
"""Stands in a filter where the number of the process is to stand that it is for."""

# <linux/prctl.h>, <linux/seccomp.h>, <linux/capability.h>, <linux/landlock.h>; Landlock's numbers are the same on
# every architecture.
_DEATH_SIGNAL, _NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 1, 38, 22, 2
_CAPABILITIES_3 = 0x20080522
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF, _BENEATH = 444, 445, 446, 1
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All that Landlock governs, from that version of it on."""
_NETWORK_RIGHTS, _SCOPES = {4: 3}, {6: 3}
_LIBC = ctypes.CDLL(None, use_errno=True)  # once, and not in each of the processes that are forked
_HEADER, _NONE = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()


class _Program(ctypes.Structure):
    """This is the kernel's ``struct sock_fprog``: the instructions of a filter, and how many they are."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def drop_privileges() -> None:
    """Leaves no capability, none to be had by a program that is started, and the end with whoever started this
    process."""
    give_up_new_privileges()
    drop_capabilities()


def drop_capabilities() -> None:
    """Leaves no capability, and the end with whoever started this process."""
    _done(_LIBC.capset(_HEADER, _NONE))
    _done(_LIBC.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0))


def give_up_new_privileges() -> None:
    """A program that is started gets none; without that only root may have a filter."""
    _done(_LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def landlock_version() -> int:
    """Returns the version; 0: the kernel has none, or does not grant it."""
    return max(0, int(_LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def ruleset(readable: Sequence[str], listed: Sequence[str] = ()) -> int:
    """Returns a descriptor for :func:`enter`: nothing may be done to any file but read those in and below ``readable``,
    and list the folders in and below ``listed``; no TCP from version 4 on, no signals to others from 6 on."""
    version = landlock_version()
    if not version:
        raise OSError("the kernel grants no Landlock")
    files, network, scopes = (_newest(rights, version) for rights in (_FILE_RIGHTS, _NETWORK_RIGHTS, _SCOPES))
    size = 8 if version < 4 else 16 if version < 6 else 24
    handled = struct.pack("=QQQ", files, network, scopes)[:size]
    rules = _done(_LIBC.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(size), 0))
    for path in readable:
        _allow(rules, path, _READ_FILE | _READ_FOLDER)
    for path in listed:
        _allow(rules, path, _READ_FOLDER)
    return rules


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= ~_READ_FOLDER
        _done(_LIBC.syscall(_ADD_RULE, rules, _BENEATH, struct.pack("=Qi", rights, place), 0))
    finally:
        os.close(place)


def enter(rules: int) -> None:
    """Makes that ruleset hold from here on."""
    _done(_LIBC.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)


class CallFilter:
    """This is a filter of ``seccomp.call_filter``, laid out as the kernel reads it.

    Whoever forks many processes that enter it makes it once: each of them then writes its number into it and no more.
    """

    def __init__(self, program: bytes) -> None:
        self._code = ctypes.create_string_buffer(program, len(program))
        self._given = _Program(len(program) // 8, ctypes.addressof(self._code))
        words = range(0, len(program), len(OWN_PROCESS))
        self._places = [place for place in words if program.startswith(OWN_PROCESS, place)]

    def enter(self) -> None:
        """Makes it hold from here on."""
        own = os.getpid()
        for place in self._places:
            struct.pack_into("<I", self._code, place, own)
        _done(_LIBC.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(self._given), 0, 0))


def _newest(rights: dict[int, int], version: int) -> int:
    return max((bits for since, bits in rights.items() if since <= version), default=0)


def _done(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
