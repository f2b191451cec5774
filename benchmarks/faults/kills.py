"""Runs killed with SIGKILL in every phase and at any instant, started again, and compared with one never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from compare import different, kept
from forked import import_all, in_child
from side_by_side import CORES, side_by_side
from traps import CLOCK, SPOTS, Trap, counted

import groupwise as gw
from groupwise.runs import environment
from groupwise.sources import offline_rollouts
from recipes import CROSSED, KINDS

offline_rollouts.SAMPLED_TOGETHER = 8  # so that what is gathered comes in parts
REVISIONS = environment.revisions()
environment.revisions = lambda: REVISIONS  # whoever edits the checkout meanwhile changes no record
KILLS_A_RUN = 2
PROCESSED = [kind for kind in KINDS if kind not in CROSSED or "lora on the head, bfloat16" in kind]
CLOCK_SHARE = 4  # of instants by the clock, to one of each phase


class Whole(NamedTuple):
    """A run that nobody disturbed."""

    files: dict[str, str]
    calls: Counter[str]
    seconds: float
    bytes: int
    """On the disk in the end."""


def complete(kind: str) -> None:
    """In the present directory, from whatever is there."""
    gw.run(KINDS[kind](), "run", sinks=[])


def undisturbed(kinds: Sequence[str], place: Path) -> dict[str, Whole]:
    """A whole run of each kind. The first is made twice: before all is imported, and again, to the same bytes."""
    before = whole(kinds[0], place / "before")
    runs = {kind: whole(kind, place / kind) for kind in kinds}
    lost = different(before.files, runs[kinds[0]].files)
    if lost:
        raise RuntimeError(f"{kinds[0]}: two runs that nobody disturbed differ in {', '.join(lost)}")
    return runs


def whole(kind: str, place: Path) -> Whole:
    """Counts as it goes what there is to be killed at, and imports here what it had to import."""

    def work() -> None:
        quiet = lambda phase, count: None  # noqa: E731
        counts = counted(quiet, quiet)
        started = time.perf_counter()
        complete(kind)
        told = {"calls": counts, "seconds": time.perf_counter() - started, "modules": sorted(sys.modules)}
        Path("told.json").write_text(json.dumps(told))

    if in_child(work, place):
        raise RuntimeError(f"{kind}: the run that nobody disturbed failed: {(place / 'said.txt').read_text()}")
    told = json.loads((place / "told.json").read_text())
    import_all(told["modules"])
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return Whole(kept(place / "run"), Counter(told["calls"]), told["seconds"], size)


def processes(place: Path) -> dict[str, Any]:
    """Each kind in two processes of their own, in which Python orders sets differently."""
    works = [partial(in_two_processes, kind) for kind in PROCESSED]
    found = [
        one for start in range(0, len(works), CORES) for one in side_by_side(works[start:][:CORES], place / str(start))
    ]
    lost = [what for one in found for what in one["lost"]]
    return {"processes": 2 * len(PROCESSED), "files_compared": sum(one["files"] for one in found), "lost": lost}


def in_two_processes(kind: str, place: Path) -> dict[str, Any]:
    """What differs between them, and how many files there are."""
    found = []
    for order in ("1", "2"):
        there = place / f"{kind}-{order}"
        there.mkdir()
        code = f"import kills; kills.versions.revisions = lambda: {REVISIONS}; kills.complete({kind!r})"
        paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONHASHSEED": order, "PYTHONPATH": paths}
        subprocess.run([sys.executable, "-c", code], cwd=there, env=environment, check=True)
        found.append(kept(there / "run"))
    return {"files": len(found[0]), "lost": [f"{kind}: {name}" for name in different(*found)]}


def trap(phase: str, run: Whole, draw: random.Random) -> Trap:
    """Somewhere in a phase of a run."""
    if phase == CLOCK:
        return Trap(phase, seconds=draw.uniform(0, 1.1 * run.seconds))
    return Trap(phase, draw.randint(1, run.calls[phase]), draw.random() < 0.5)


def trapped(kind: str, set_trap: Trap) -> None:
    set_trap.set()
    complete(kind)


def killed_run(kind: str, run: Whole, phases: list[str], place: Path, draw: random.Random) -> dict[str, Any]:
    """Killed once in each of ``phases``, where it gets there before its end; then left to finish."""
    killed: list[str] = []
    for phase in phases:
        status = in_child(partial(trapped, kind, trap(phase, run, draw)), place)
        if status == -signal.SIGKILL:
            killed.append(phase)
        elif status:
            return {"kind": kind, "killed": killed, "lost": [(place / "said.txt").read_text()[-500:]]}
    if in_child(partial(complete, kind), place):
        return {"kind": kind, "killed": killed, "lost": [(place / "said.txt").read_text()[-500:]]}
    return {"kind": kind, "killed": killed, "lost": different(run.files, kept(place / "run"))}


def kills(place: Path, wanted: int, seed: int, kinds: Sequence[str] = tuple(KINDS)) -> dict[str, Any]:
    """At least ``wanted`` kills, over all kinds and phases in turn; what was lost is named. Kinds are shared out."""
    order = random.Random(seed).sample(kinds, len(kinds))
    runs = undisturbed(order[:1], place / "whole")
    cores = min(CORES, len(order))
    share = -(-wanted // cores)
    works = [
        partial(kills_of, order[number::cores], dict(runs) if number == 0 else {}, share, seed + number)
        for number in range(cores)
    ]
    found = [one for part in side_by_side(works, place) for one in part]
    return {
        "kills": sum(len(one["killed"]) for one in found),
        "runs": len(found),
        "kinds": len({one["kind"] for one in found}),
        "by_kind": dict(Counter(one["kind"] for one in found for _ in one["killed"])),
        "by_phase": dict(sorted(Counter(phase for one in found for phase in one["killed"]).items())),
        "files_compared": sum(one["files"] for one in found),
        "lost": [f"{one['kind']}: {what}" for one in found for what in one["lost"]],
    }


def kills_of(order: Sequence[str], runs: dict[str, Whole], wanted: int, seed: int, place: Path) -> list[dict[str, Any]]:
    """At least ``wanted`` kills over some kinds: each run that was killed, and how many files were compared."""
    draw, found = random.Random(seed), list[dict[str, Any]]()
    every = [*SPOTS, *[CLOCK] * CLOCK_SHARE]
    left: dict[str, list[str]] = {}
    number, done = 0, 0
    while done < wanted:
        kind = order[number % len(order)]
        if kind not in runs:
            runs[kind] = whole(kind, place / "whole" / kind)
        if len(left.setdefault(kind, [])) < KILLS_A_RUN:
            plan = [phase for phase in every if phase == CLOCK or runs[kind].calls[phase]]
            left[kind] += draw.sample(plan, len(plan))
        phases = [left[kind].pop(0) for _ in range(KILLS_A_RUN)]
        result = killed_run(kind, runs[kind], phases, place / f"{number:03d}-{kind}", draw)
        found.append(result | {"files": len(runs[kind].files)})
        done, number = done + len(result["killed"]), number + 1
        print(f"{done}/{wanted} kills: {kind} in {', '.join(result['killed']) or 'none'}", *result["lost"], flush=True)
    return found
