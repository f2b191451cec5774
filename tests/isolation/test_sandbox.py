"""Programs get nothing but the interpreter and end in time; where nothing holds them they are not run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.isolation.sandbox import Sandbox
from groupwise.isolation.trials import walls

from .callers import HOUSE

WITHOUT_LANDLOCK = Path(__file__).with_name("without_landlock.py")


def works() -> str:
    try:
        Sandbox().check()
    except UserError as error:
        return str(error)
    return ""


needs_sandbox = pytest.mark.skipif(bool(works()), reason=works())


@needs_sandbox
@pytest.mark.parametrize(
    ("source", "trouble"),
    [
        ("while True: pass", "time"),
        ("import time; time.sleep(60)", "time"),
        ("import os\nwhile True: os.fork()", "exit status"),
        ("import os\nif os.fork() == 0:\n    while True: pass", "exit status"),
        ("x = []\nwhile True: x.append(bytearray(10 ** 6))", "exit status"),
        ("10 ** 10 ** 10", "time"),
        ("while True: print('x' * 10000)", "output"),
        ("def f(n): return f(n + 1)\nf(0)", "exit status"),
        ("(" * 50_000 + ")" * 5000, "exit status"),
        ("print(open('/etc/passwd').read())", "exit status"),
        (f"import os; print(os.listdir({os.path.expanduser('~')!r}))", "exit status"),
        (f"print(open({__file__!r}).read())", "exit status"),
        ("open('x', 'w')", "exit status"),
        ("import socket; socket.create_connection(('127.0.0.1', 80), 1)", "exit status"),
        ("import os, signal; os.kill(os.getppid(), 9); print('still')", "exit status"),
        ("import subprocess; print(subprocess.check_output(['/bin/sh', '-c', 'id']))", "exit status"),
        ("import os; os.setuid(0)", "exit status"),
        ("import os\nos.close(1)\nos.close(0)\nwhile True: pass", "time"),
        ("\x00\ud800", "exit status"),
    ],
)
def test_hostile_programs_end_in_time_and_get_nothing(source: str, trouble: str) -> None:
    started = time.monotonic()
    ran = Sandbox(time_limit_seconds=1.0, memory_bytes=128 << 20).program(source.encode("utf-8", "surrogatepass"), b"")
    assert time.monotonic() - started < 50.0
    assert ran.trouble.startswith(trouble)
    assert ran.output == b"" or trouble == "output"
    assert len(ran.output) <= (1 << 20) + (1 << 16)


@needs_sandbox
def test_it_sees_no_environment_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    source = "import os; print(sorted(os.environ), os.getuid(), os.listdir('/empty'), os.getpid() < 9)"
    ran = Sandbox().program(source.encode(), b"")
    assert b"API_KEY" not in ran.output
    assert b"HOME" not in ran.output
    assert ran.output.split(b"]", 1)[1].strip() == b"65534 [] True"


@needs_sandbox
@pytest.mark.parametrize(
    "source",
    [
        "import asyncio\nasync def f(): await asyncio.sleep(0.01); return 4\nprint(asyncio.run(f()))",
        "import bisect, collections, copy, datetime, decimal, fractions, functools, hashlib, heapq, itertools, json\n"
        "import math, operator, queue, random, re, secrets, statistics, string, textwrap, typing, uuid, zlib; print(4)",
        "import logging, multiprocessing, numbers, pathlib, shutil, socket, ssl, subprocess, tempfile; print(4)",
        "import signal, time\nsignal.signal(signal.SIGALRM, lambda *_: print(4))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(1)",
        "import sys; sys.setrecursionlimit(10 ** 5); print(4)",
        "import os, time\nos.kill(os.getpid(), 0); print(4)",
        "import resource\nresource.getrlimit(resource.RLIMIT_AS); print(4)",
        "import ctypes\nprint(ctypes.c_int(4).value)",
        "import sqlite3\nprint(sqlite3.connect(':memory:').execute('select 4').fetchone()[0])",
    ],
)
def test_right_programs_have_what_they_need(source: str) -> None:
    ran = Sandbox(time_limit_seconds=60.0).program(source.encode(), b"")
    assert (ran.output.strip(), ran.trouble) == (b"4", "")


@needs_sandbox
def test_threads_where_they_are_asked_for_and_processes_never() -> None:
    source = b"import threading\nthreading.Thread(target=print, args=(4,)).start()"
    assert Sandbox(60.0).program(source, b"").trouble.startswith("exit status")
    fork = b"import os\nos.fork()\nprint(4)"
    threaded = Sandbox(60.0, threads=True)
    if not walls().is_bubblewrap:
        with pytest.raises(UserError, match="threads=True needs bubblewrap"):
            threaded.check()
        return
    assert threaded.program(source, b"").output.strip() == b"4"
    assert threaded.program(fork, b"").output == b""


@needs_sandbox
def test_a_program_that_fills_pipes_keeps_no_other_from_starting() -> None:
    """A user whose pipes hold much gets only small ones: what a start needs must not go through a pipe."""
    hoard = b"import fcntl, os, time\npipes = []\ntry:\n    while True:\n        pipes.append(os.pipe())\n"
    hoard += b"        os.set_blocking(pipes[-1][1], False); os.write(pipes[-1][1], b'x' * 65536)\n"
    hoard += b"except OSError: time.sleep(9)\n"
    long = b"x = 4\n" * 9000 + b"print(len(input()) + x)"
    with_pipes = Sandbox(3.0)
    threads = [threading.Thread(target=with_pipes.program, args=(hoard, b"")) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert Sandbox(60.0).program(long, b"y" * 300_000).output.strip() == b"300004"
    for thread in threads:
        thread.join(600)


@needs_sandbox
def test_no_program_leaves_anything_to_the_next() -> None:
    key = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.syscall(248, b'user', b'gw', b'secret', 6, -4), libc.syscall(250, 10, -4, b'user', b'gw', 0))\n"
        "print(libc.syscall(29, 77, 4096, 0o1666), libc.syscall(64, 77, 1, 0o1666), libc.syscall(68, 77, 0o1666))"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of calls are x86_64's")
    assert Sandbox(60.0).program(key.encode(), b"").output.split() == [b"-1"] * 5


def refused(tmp_path: Path, bubblewrap: str) -> str:
    """What a fresh process says on a kernel without Landlock, where ``bwrap`` is that script."""
    if bubblewrap:
        (tmp_path / "bwrap").write_text(bubblewrap)
        (tmp_path / "bwrap").chmod(0o755)
    code = "from groupwise.isolation.sandbox import Sandbox\nSandbox().check()"
    environment = {"PATH": f"{tmp_path}", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(WITHOUT_LANDLOCK), sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode
    return done.stderr.splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="system calls of Linux")
def test_without_walls_nothing_is_run(tmp_path: Path) -> None:
    line = refused(tmp_path, "")
    assert "what a model wrote is not run without guards" in line
    assert "there is no bwrap on the PATH" in line
    assert "Landlock: the kernel has none, or does not grant it" in line
    assert "Install bubblewrap" in line
    line = refused(tmp_path, "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    assert "it cannot work here (bwrap: No permissions to create new namespace)" in line


@needs_sandbox
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap")
def test_walls_that_grant_anything_are_refused(tmp_path: Path) -> None:
    """The real ones with three holes."""
    line = refused(
        tmp_path,
        f"#!{sys.executable}\nimport os, sys\n"
        "words = [word for word in sys.argv[1:] if word != '--unshare-net']\n"
        "place = words.index('--seccomp'); del words[place:place + 2]\n"
        "end = words.index('--')\n"
        "words[end:end] = ['--ro-bind', '/etc', '/etc']\n"
        f"os.execv({shutil.which('bwrap')!r}, ['bwrap', *words])\n",
    )
    assert "a program in it could read /etc/passwd, reach the machine's network, open a socket" in line
    assert "share memory, make semaphores" in line
    assert "have a namespace" in line


@needs_sandbox
@pytest.mark.parametrize("place", ["/usr/local/lib", "/usr/lib/python3/dist-packages", "/opt"])
def test_it_works_wherever_it_is_installed(place: str) -> None:
    """And shows nobody what else is installed there."""
    cover = ["bwrap", "--dev-bind", "/", "/", "--cap-add", "ALL", "--tmpfs", place, "--dir", f"{place}/groupwise"]
    cover += ["--ro-bind", str(HOUSE / "src" / "groupwise"), f"{place}/groupwise", "--"]
    if os.geteuid() != 0 or shutil.which("bwrap") is None:
        pytest.skip("it takes root and bubblewrap to install it elsewhere")
    if not os.path.isdir(place) or sysconfig.get_path("stdlib").startswith(place):
        pytest.skip("that folder is missing, or is the interpreter's own")
    code = (
        "import groupwise.isolation.sandbox as s\n"
        f"assert s.__file__.startswith({place!r}), s.__file__\n"
        "sandbox = s.Sandbox(60.0)\nsandbox.check()\n"
        f"print(sandbox.program(b'import os; print(os.listdir(\"{place}\"))', b''))\n"
        "from groupwise.isolation.pool import WorkerPool\n"
        "print(WorkerPool('groupwise.isolation.pool:_shown', size=1).run(['seen'], 60.0))"
    )
    command = [*cover, sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": place}, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ProgramOutput(output=b'', trouble='exit status 1')" in done.stdout
    assert "value='seen'" in done.stdout
