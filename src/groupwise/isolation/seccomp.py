"""This module makes filters on system calls (seccomp), as the kernel reads them: what no scorer and no program here
needs is refused.

A filter is a list of refusals, not of permissions, so that Python and its libraries go on working. It closes what
limits and namespaces leave open: memory that is counted nowhere (System V, semaphores, queues, memfd), a namespace of
one's own with all its privileges, keyrings that outlast a process, sockets, io_uring (which would go around a filter),
and everything that reaches for another process or changes a file. Built for x86_64 and aarch64; the architecture is
looked at first, so that a call by another one's numbers (i386, x32) ends the process or is refused.
"""

from __future__ import annotations

import errno
import platform
import struct

from groupwise.errors import UserError
from groupwise.isolation.confinement import OWN_PROCESS

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_X32 = 0x40000000
_THREAD, _NEW_NAMESPACES = 0x00010000, 0x7E020080

_MEMORY = """
shmget 29 194, shmat 30 196, shmctl 31 195, shmdt 67 197, semget 64 190, semop 65 193, semctl 66 191, semtimedop 220 192
msgget 68 186, msgsnd 69 189, msgrcv 70 188, msgctl 71 187, mq_open 240 180, mq_unlink 241 181, mq_timedsend 242 182
mq_timedreceive 243 183, mq_notify 244 184, mq_getsetattr 245 185, memfd_create 319 279, memfd_secret 447 447
userfaultfd 323 282, io_setup 206 0, io_submit 209 2, io_uring_setup 425 425, io_uring_enter 426 426
io_uring_register 427 427, mlock 149 228, mlock2 325 284, mlockall 151 230, remap_file_pages 216 234
inotify_init 253 -, inotify_init1 294 26, fanotify_init 300 262, vmsplice 278 75, splice 275 76, tee 276 77
add_key 248 217, request_key 249 218, keyctl 250 219
"""
_PRIVILEGE = """
unshare 272 97, setns 308 268, mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, open_tree 428 428
move_mount 429 429, fsopen 430 430, fsconfig 431 431, fsmount 432 432, fspick 433 433, mount_setattr 442 442
statmount 457 457, listmount 458 458, open_tree_attr 467 467, quotactl 179 60, quotactl_fd 443 443, swapon 167 224
swapoff 168 225, reboot 169 142, acct 163 89, sethostname 170 161, setdomainname 171 162, init_module 175 105
finit_module 313 273, delete_module 176 106, kexec_load 246 104, kexec_file_load 320 294, syslog 103 116, iopl 172 -
ioperm 173 -, modify_ldt 154 -, settimeofday 164 170, clock_settime 227 112, adjtimex 159 171, clock_adjtime 305 266
vhangup 153 58, lookup_dcookie 212 18, nfsservctl 180 42, uselib 134 -, _sysctl 156 -, personality 135 92
name_to_handle_at 303 264, open_by_handle_at 304 265, bpf 321 280, perf_event_open 298 241, seccomp 317 277
"""
_OTHERS = """
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, process_madvise 440 440, process_mrelease 448 448
kcmp 312 272, pidfd_open 434 434, pidfd_getfd 438 438, pidfd_send_signal 424 424, migrate_pages 256 238
move_pages 279 239, mbind 237 235, set_mempolicy 238 237, set_mempolicy_home_node 450 450, setpriority 141 140
ioprio_set 251 30, sched_setparam 142 118, sched_setscheduler 144 119, sched_setattr 314 274
socket 41 198, connect 42 203, bind 49 200, listen 50 201, accept 43 202, accept4 288 242
"""
_FILES = """
chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, chown 92 -, fchown 93 55, lchown 94 -, fchownat 260 54
utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88, setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7
setxattrat 463 463, getxattr 191 8, lgetxattr 192 9, getxattrat 464 464, listxattr 194 11, llistxattr 195 12
listxattrat 465 465, removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, removexattrat 466 466
file_setattr 469 469, truncate 76 45, ftruncate 77 46, fallocate 285 47, creat 85 -, mkdir 83 -, mkdirat 258 34
rmdir 84 -, unlink 87 -, unlinkat 263 35, rename 82 -, renameat 264 38, renameat2 316 276, link 86 -, linkat 265 37
symlink 88 -, symlinkat 266 36, mknod 133 -, mknodat 259 33, flock 73 32, sync 162 81, syncfs 306 267
"""
FOREIGN = "tkill 200 130, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, execve 59 221, execveat 322 281"

_FORKS = "fork 57 -, vfork 58 -"
JUDGED = """
ioctl 16 29, fcntl 72 25, socketpair 53 199, clone3 435 435, clone 56 220, kill 62 129, tgkill 234 131
prlimit64 302 261, sched_setaffinity 203 122
"""

DENIED = (_MEMORY, _PRIVILEGE, _OTHERS, _FILES, _FORKS)
_SEND_INPUT, _SET_OWNER = (0x5412, 0x541C), (0x8901, 0x8902)
_PIPE_SIZE, _SIGNAL_OWNERS = 1031, (8, 10, 15)
_UNIX, _STREAM, _SOCKET_TYPE = 1, 1, 0xF


def call_filter(
    *, last: bool, threads: bool = False, common: bool = True, processes: bool = True, machine: str = ""
) -> bytes:
    """The filter as an array of ``struct sock_filter``.

    ``last``: nothing has to be started under it any more, and it alone keeps the process from signalling others: no
    further program, and signals only to itself (``confinement.OWN_PROCESS``). Otherwise whoever applies it starts one
    program. ``threads`` may be started, processes never. Whoever forks many processes takes the part that they have in
    ``common`` itself and leaves them the rest, about ``processes``: the kernel reads a short one faster. ``machine``:
    another architecture than this one's, as ``platform.machine()`` names it. Raises UserError where its calls are not
    known here.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise UserError(f"no filter on system calls is known for {machine}; expected {' or '.join(_ARCHITECTURES)}")
    rules = [_op(_LOAD, _ARCHITECTURE), _op(_EQUAL, _ARCHITECTURES[machine], 1, 0), _op(_RETURN, _KILL)]
    rules += [_op(_LOAD, _NUMBER)]
    if machine == "x86_64":
        rules += [_op(_AT_LEAST, _X32, 0, 1), _refuse()]
    if processes:
        rules += _about_processes(machine, last, threads)
    if common:
        judged = calls(machine, JUDGED)
        for number in calls(machine, _MEMORY, _PRIVILEGE, _OTHERS, _FILES).values():
            rules += [_op(_EQUAL, number, 0, 1), _refuse()]
        rules += _when(judged["ioctl"], _unless(1, (*_SEND_INPUT, *_SET_OWNER)))
        rules += _when(judged["fcntl"], _unless(1, (_PIPE_SIZE, *_SIGNAL_OWNERS)))
        rules += _when(judged["socketpair"], _pair())
    return b"".join([*rules, _op(_RETURN, _ALLOW)])


def _about_processes(machine: str, last: bool, threads: bool) -> list[bytes]:
    judged, own = calls(machine, JUDGED), [OWN_PROCESS]
    denied = calls(machine, _FORKS, *([FOREIGN] if last else []))
    rules = [word for number in denied.values() for word in (_op(_EQUAL, number, 0, 1), _refuse())]
    rules += _when(judged["clone3"], [_refuse(errno.ENOSYS)])  # its flags can't be seen; C libraries then use clone
    rules += _when(judged["clone"], _clone() if threads else [_refuse()])
    if last:
        rules += _when(judged["kill"], _only(0, own)) + _when(judged["tgkill"], _only(0, own))
        rules += _when(judged["prlimit64"], _only(0, [bytes(4), *own]))
        rules += _when(judged["sched_setaffinity"], _only(0, [bytes(4), *own]))
    return rules


def _op(code: int, value: int | bytes, then: int = 0, otherwise: int = 0) -> bytes:
    constant = value if isinstance(value, bytes) else struct.pack("<I", value)
    return struct.pack("<HBB", code, then, otherwise) + constant


def _refuse(error: int = errno.EPERM) -> bytes:
    return _op(_RETURN, _ERROR | error)


def _argument(number: int) -> bytes:
    """The lower half of an argument, which is all that the kernel looks at of those asked about here."""
    return _op(_LOAD, _ARGUMENTS + 8 * number)


def _when(number: int, block: list[bytes]) -> list[bytes]:
    """A block that decides about one call."""
    return [_op(_EQUAL, number, 0, len(block)), *block]


def _unless(argument: int, values: tuple[int, ...]) -> list[bytes]:
    refusals = [word for value in values for word in (_op(_EQUAL, value, 0, 1), _refuse())]
    return [_argument(argument), *refusals, _op(_RETURN, _ALLOW)]


def _only(argument: int, values: list[bytes]) -> list[bytes]:
    allowed = [word for value in values for word in (_op(_EQUAL, value, 0, 1), _op(_RETURN, _ALLOW))]
    return [_argument(argument), *allowed, _refuse()]


def _pair() -> list[bytes]:
    """Two ends of a stream, as event loops have them. One that sends datagrams could send them to other addresses."""
    family = [_argument(0), _op(_EQUAL, _UNIX, 1, 0), _refuse()]
    kind = [_argument(1), _op(_AND, _SOCKET_TYPE), _op(_EQUAL, _STREAM, 0, 1), _op(_RETURN, _ALLOW), _refuse()]
    return [*family, *kind]


def _clone() -> list[bytes]:
    """A thread, in no namespace of its own."""
    allow = _op(_RETURN, _ALLOW)
    return [
        _argument(0),
        _op(_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        _refuse(),
        _op(_ANY_BIT, _THREAD, 0, 1),
        allow,
        _refuse(),
    ]


def calls(machine: str, *texts: str) -> dict[str, int]:
    """Returns names and numbers of the calls in such texts that the architecture has."""
    column = list(_ARCHITECTURES).index(machine)
    rows = (row.split() for text in texts for line in text.split("\n") for row in line.split(",") if row.strip())
    return {name: int(numbers[column]) for name, *numbers in rows if numbers[column] != "-"}
