"""This module says what a machine has, what of Groupwise is slower on it, and why: what a report of a fault needs."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from groupwise.errors import UserError
from groupwise.isolation.trials import walls
from groupwise.isolation.walls import why_no_candidate
from groupwise.kernels.build import COMPILERS, cache_directory, library
from groupwise.kernels.tile_threads import available_threads
from groupwise.learners.device import machine
from groupwise.output.masking import masked
from groupwise.runs.environment import ENVIRONMENT, revisions, versions

INSTRUCTIONS = ("avx2", "fma", "f16c", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
"""Those that the kernels and torch use, as /proc/cpuinfo spells them."""
OPTIONAL = ("datasets", "peft", "gguf", "starlette", "tensorboard", "wandb", "trackio", "mlflow", "triton", "vllm")
KERNELS = {"learn": "training", "decode": "sampling"}
SIZE = 512
"""Rows of the square matrices whose product is timed."""
TRIALS = 5
COMPILER_SECONDS = 10.0
LITTLE_MEMORY, LITTLE_DISK = 4 << 30, 2 << 30


@dataclass(frozen=True)
class Fact:
    """A fact is one line about a machine."""

    name: str
    words: str
    slower: str = ""
    """What of Groupwise is slower or missing for it, and what to do; empty: nothing."""


def facts() -> list[Fact]:
    """Returns everything, in the order of reading. Compiles the kernels where they are not compiled yet."""
    parts = (_software, _processor, _memory, _threads, _kernels, _speed, _isolation, _gpu, _disk, _packages)
    return [fact for part in parts for fact in part()]


def _software() -> Iterator[Fact]:
    found = versions()
    yield Fact("groupwise", f"{found.pop('groupwise')}, revision {revisions()['groupwise'] or 'unknown (no checkout)'}")
    yield Fact("versions", ", ".join(f"{name} {number}" for name, number in found.items()))
    yield Fact("system", platform.platform())
    given = {name: os.environ[name] for name in (*ENVIRONMENT, "CXX", "CUDA_VISIBLE_DEVICES") if name in os.environ}
    if given:
        yield Fact("environment", masked(", ".join(f"{name}={value}" for name, value in given.items())))


def _processor() -> Iterator[Fact]:
    usable, all_of_them = _usable(), os.cpu_count() or 1
    quota = _quota()
    words = f"{machine()['cpu'] or platform.machine()}, {all_of_them} cores"
    fewer = min([usable, *([quota] if quota else [])])
    slower = f"this process may use {fewer:g} of {all_of_them}: lift the limit" if fewer < all_of_them else ""
    yield Fact("processor", words, slower)
    load = os.getloadavg()[0]
    busy = f"{load:.1f} processes want {all_of_them} cores: times that are measured now say little"
    yield Fact("load", f"{load:.1f} in the last minute", busy if load > all_of_them + 1 else "")
    flags = _flags()
    present = [name for name in INSTRUCTIONS if name in flags]
    vectors = "no AVX2 and no NEON: the kernels compute a number at a time" if not {"avx2", "asimd"} & flags else ""
    halves = "" if {"avx512_bf16", "amx_bf16", "bf16"} & flags else "no bfloat16 instructions: float32 is faster here"
    yield Fact("instructions", ", ".join(present) or "none that is known", vectors or halves)


def _memory() -> Iterator[Fact]:
    table = _pairs(Path("/proc/meminfo"))
    total, free = (int(table.get(name, "0 kB").split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    told = f"{_size(total)}, {_size(free)} of it free" if total else "unknown"
    told += f", {_size(limit)} allowed to this group of processes" if limit and limit < total else ""
    little = "a model of a billion parameters takes 16 GB to train whole, 8 GB with --lora"
    yield Fact("memory", told, little if total and min(free, limit or free) < LITTLE_MEMORY else "")


def _threads() -> Iterator[Fact]:
    wanted = torch.get_num_threads()
    found = available_threads(4 * wanted)
    slower = f"the system gives {found} threads (ulimit -u): torch keeps to one" if found < 4 * wanted else ""
    yield Fact("threads", f"torch takes {wanted}; a run tries which number is fastest", slower)


def _kernels() -> Iterator[Fact]:
    named = os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), "")
    yield Fact("compiler", _compiler(named) if named else "none", "" if named else "apt install g++, or set CXX")
    for name, use in KERNELS.items():
        found = library(name)
        if isinstance(found, str):
            yield Fact(f"kernels of {use}", "none", f"{found}: plain torch gives the same numbers, slower")
        else:
            yield Fact(f"kernels of {use}", f"compiled for this processor, in {cache_directory()}")


def _compiler(named: str) -> str:
    words = shlex.split(named)
    try:
        ran = subprocess.run(
            [*words, "--version"], capture_output=True, text=True, timeout=COMPILER_SECONDS, check=True
        )
        return f"{shutil.which(words[0])}: {ran.stdout.splitlines()[0]}"
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        return f"{named}, which cannot be asked for its version ({type(error).__name__})"


def _speed() -> Iterator[Fact]:
    single, half = (_gigaflops(kind) for kind in (torch.float32, torch.bfloat16))
    slower = f"bfloat16 is {single / half:.1f} times as slow: keep dtype float32" if half < single else ""
    yield Fact("products", f"{single:,.0f} GFLOP/s in float32, {half:,.0f} in bfloat16, {SIZE} square", slower)


def _gigaflops(kind: torch.dtype) -> float:
    """The fastest of some products."""
    one = torch.ones(SIZE, SIZE, dtype=kind)
    one @ one
    took = []
    for _ in range(TRIALS):
        begun = time.perf_counter()
        one @ one
        took.append(time.perf_counter() - begun)
    return 2 * SIZE**3 / min(took) / 1e9


def _isolation() -> Iterator[Fact]:
    try:
        held = walls()
    except UserError as error:
        yield Fact("isolation", "none", str(error))
        return
    thinner = "; ".join(f"{kind}: {why}" for kind, why in why_no_candidate().items()) if not held.is_bubblewrap else ""
    yield Fact("isolation", f"{held.kind}: {', '.join(held.guards)}", thinner and f"no threads for programs; {thinner}")
    allowed = _number(Path("/proc/sys/user/max_user_namespaces"))
    yield Fact("namespaces", "unknown" if allowed is None else f"{allowed:,} allowed to a user")


def _gpu() -> Iterator[Fact]:
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = f"is built for {built}, and no device is visible" if built else "is built without one"
        why = f"torch {torch.__version__} {why}"
        yield Fact("GPU", f"none: {why}", "sampling and training run on the processor")
        return
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield Fact("GPU", f"{about.name}, {_size(about.total_memory)}, capability {about.major}.{about.minor}")


def _disk() -> Iterator[Fact]:
    for name, place in (("here", Path.cwd()), ("temporary files", Path(os.environ.get("TMPDIR") or "/tmp"))):
        free = shutil.disk_usage(place).free
        yield Fact(f"disk, {name}", f"{_size(free)} free", "checkpoints may not fit" if free < LITTLE_DISK else "")


def _packages() -> Iterator[Fact]:
    found, missing = [], []
    for name in OPTIONAL:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Fact("optional packages", f"{', '.join(found) or 'none'}; not installed: {', '.join(missing) or 'none'}")


def _flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return set(next((line for line in lines if line.startswith(("flags", "Features"))), "").partition(":")[2].split())


def _usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> float | None:
    """Cores that a group of processes may use; None: all."""
    path = Path("/sys/fs/cgroup/cpu.max")
    words = path.read_text().split() if path.exists() else []
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdecimal() else None


def _number(path: Path) -> int | None:
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text.isdecimal() else None


def _pairs(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
