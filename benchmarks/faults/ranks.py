"""Runs of several processes, of which any one is killed with SIGKILL at any instant; the same run again, to the same
bytes as one that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from compare import different, kept
from forked import ended, import_all, spawned

import groupwise as gw
from groupwise.learners import FSDP
from groupwise.learners.options import LearnerOptions
from recipes import critic, demonstrations, groups

PROCESSES, KILLS_A_RUN = 2, 4
SECONDS_TO_END = 30.0
"""Within which a run must have ended whose process was killed, and all that it started."""
MODULES = ["transformers.models.qwen3.modeling_qwen3", "torch.distributed.fsdp", "groupwise.learners.sharded"]


def spread(made: Callable[[], gw.Run], **options: Any) -> gw.Run:
    """The run with a learner of several processes."""
    recipe = made()
    same = {field.name: getattr(recipe.learner, field.name) for field in fields(LearnerOptions)}
    return replace(recipe, learner=FSDP(**same | options, processes=PROCESSES, timeout_seconds=60))


KINDS: dict[str, Callable[[], gw.Run]] = {
    "grpo": partial(spread, groups),
    "ppo": partial(spread, critic),
    "grpo, adapters in half precision": partial(spread, groups, lora=gw.Lora(2), dtype="bfloat16"),
    "sft": partial(spread, demonstrations, optimizer_bits=32),
}


def complete(kind: str) -> None:
    """In the present directory, from whatever is there."""
    gw.run(KINDS[kind](), "run", sinks=[])


def ranks(place: Path, wanted: int, seed: int) -> dict[str, Any]:
    """So many kills at least, over all kinds in turn; what was lost is named."""
    draw, lost, files = random.Random(seed), list[str](), 0
    killed: Counter[str] = Counter()
    import_all(MODULES)
    whole: dict[str, tuple[dict[str, str], float]] = {}
    number = 0
    while sum(killed.values()) < wanted:
        kind, there = list(KINDS)[number % len(KINDS)], place / f"{number:03d}"
        if kind not in whole:
            started = time.monotonic()
            if ended(spawned(partial(complete, kind), place / f"whole {kind}")):
                raise RuntimeError(f"{kind}: {(place / f'whole {kind}' / 'said.txt').read_text()}")
            whole[kind] = kept(place / f"whole {kind}" / "run"), time.monotonic() - started
        expected, seconds = whole[kind]
        for _ in range(KILLS_A_RUN):
            victim, words = killed_once(kind, there, draw.uniform(0, seconds), draw)
            killed[victim] += bool(victim)
            lost += [f"{kind}: {word}" for word in words]
        if ended(spawned(partial(complete, kind), there)):
            lost.append(f"{kind}: {(there / 'said.txt').read_text()[-500:]}")
        lost += [f"{kind}: {name}" for name in different(expected, kept(there / "run"))]
        files, number = files + len(expected), number + 1
        print(f"{sum(killed.values())}/{wanted} kills: {kind}", *lost, flush=True)
    del killed[""]
    return {
        "kills": sum(killed.values()),
        "by_rank": dict(killed),
        "runs": number,
        "files_compared": files,
        "lost": lost,
    }


def killed_once(kind: str, place: Path, after: float, draw: random.Random) -> tuple[str, list[str]]:
    """Kills one process of the run when it has worked so long: which, empty where it was over before; and what did not
    end."""
    child = spawned(partial(complete, kind), place)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline and not _is_over(child):
        time.sleep(0.01)
    followers = _children(child)
    victims = [child, *followers]
    place_of_victim = draw.randrange(len(victims))
    over = _is_over(child)
    if not over:
        with suppress(ProcessLookupError):
            os.kill(victims[place_of_victim], signal.SIGKILL)
    deadline = time.monotonic() + SECONDS_TO_END
    words = []
    while not _is_over(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    if not _is_over(child):
        words.append(f"rank 0 did not end within {SECONDS_TO_END:g} s")
        os.kill(child, signal.SIGKILL)
    ended(child)
    while any(map(_is_alive, followers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    words += [f"a process was left: {pid}" for pid in followers if _is_alive(pid)]
    return ("" if over else f"rank {place_of_victim}"), words


def _is_over(child: int) -> bool:
    """Whether a child has ended and waits to be asked how."""
    return _state(child) in ("Z", "")


def _is_alive(pid: int) -> bool:
    return _state(pid) not in ("Z", "")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    """The processes that it started which follow it: not those that score or guard."""
    try:
        found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for each in found if b"groupwise.learners.follower" in _command(each)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
