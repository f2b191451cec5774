"""Compiles a source file of this folder once a machine, and loads it.

Plain C functions by ctypes: no headers of Python or torch, so that a compiler is all it takes and a few seconds.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared", "-pthread")
COMPILERS = ("c++", "g++", "clang++")
SECONDS = 900.0  # that a compiler may take, where a busy machine lets it
LOOKS_EVERY = 0.1

HERE = Path(__file__).parent


@functools.cache
def library(name: str) -> ctypes.CDLL | str:
    """Returns ``<name>.cpp`` of this folder as a loaded library, or why there is none: no compiler, or what it said.

    ``CXX`` names another compiler, with options as a shell reads them; ``GROUPWISE_KERNELS=off`` does without.
    """
    if os.environ.get("GROUPWISE_KERNELS") == "off":
        return "GROUPWISE_KERNELS is off"
    named = os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), "")
    if not named:
        return f"no C++ compiler found (looked for {', '.join(COMPILERS)}; CXX names another)"
    try:
        compiler = shlex.split(named)
        begins = cache_directory() / f"{name}-{fingerprint(compiler)}"
        return ctypes.CDLL(str(compiled(begins) or _compile_alone(begins, name, compiler)))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        return f"{named} could not make {name}: {(said.strip().splitlines() or ['no word why'])[0]}"


def compiled(begins: Path) -> Path | None:
    """Returns the library whose name begins so, where a whole one is there."""
    return next(filter(whole, sorted(begins.parent.glob(f"{begins.name}-*.so"))), None)


def _compile_alone(begins: Path, name: str, compiler: Sequence[str]) -> Path:
    source = HERE / f"{name}.cpp"
    with alone(source, lambda: compiled(begins) is not None):
        if place := compiled(begins):
            return place
        print(f"groupwise: compiling {name} for this processor, once: some seconds", file=sys.stderr, flush=True)
        return compile_to(begins, source, compiler)


@contextmanager
def alone(source: Path, done: Callable[[], bool]) -> Iterator[None]:
    """Holds a source, so that of processes that begin together one compiles it and the others wait for that one: until
    it is ``done``, or for as long as a compiler may take."""
    until = time.monotonic() + SECONDS
    with source.open("rb") as held:
        while not done() and time.monotonic() < until:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOOKS_EVERY)
            except OSError:  # a file system without locks
                break
        yield


def compile_to(begins: Path, source: Path, compiler: Sequence[str]) -> Path:
    """Compiles a library whole or not at all: two runs that start together do not see each other's half. The name of
    what is made begins so and ends with what it holds."""
    with tempfile.TemporaryDirectory(dir=begins.parent) as scratch:
        made = Path(scratch) / "library.so"
        command = [*compiler, *FLAGS, str(source), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
        place = begins.with_name(f"{begins.name}-{_digest(made.read_bytes())}.so")
        os.replace(made, place)
        return place


def whole(place: Path) -> bool:
    """Says whether it is what was compiled, byte for byte: what lies there is run."""
    return place.stem.rpartition("-")[2] == _digest(place.read_bytes())


def fingerprint(compiler: Sequence[str]) -> str:
    """Returns a hash of the sources, the flags, the compiler and this machine's instructions; nothing is run for it."""
    parts = [*compiler, *_program(compiler[0] if compiler else ""), *FLAGS, platform.machine(), _instructions()]
    parts += [path.read_text() for path in sorted(HERE.iterdir()) if path.suffix in (".cpp", ".h")]
    return _digest("\0".join(parts).encode())


def _program(name: str) -> list[str]:
    """Which file it is, and which state of it."""
    found = Path(shutil.which(name) or name).resolve()
    state = found.stat()
    return [str(found), str(state.st_size), str(state.st_mtime_ns)]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def cache_directory() -> Path:
    """The user's own, closed to others: what lies there is run. Raises OSError where none can be made."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = base / "groupwise"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = place.stat()
        if kept.st_uid == os.getuid() and not kept.st_mode & 0o022 and os.access(place, os.W_OK):
            return place
    except OSError:
        pass
    return Path(_private_directory())


@functools.cache
def _private_directory() -> str:
    """Of this process alone, removed at its end."""
    holder = tempfile.TemporaryDirectory(prefix="groupwise-")
    _HELD.append(holder)
    return holder.name


_HELD: list[tempfile.TemporaryDirectory[str]] = []


def _instructions() -> str:
    """Returns the line of the processor's features, by which ``-march=native`` chooses instructions."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor()
    lines = information.read_text().splitlines()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
