"""Every file of a checkpoint truncated, flipped and removed; a disk that fills up; a run that is asked to stop."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from compare import different, kept
from forked import ended, in_child, spawned
from kills import Whole, trapped, undisturbed
from side_by_side import CORES, side_by_side
from traps import Trap

import groupwise as gw
import groupwise.runs.saver
import groupwise.runs.session
from groupwise.runs.directory import RunDirectory
from groupwise.sinks import Sinks
from groupwise.storage.manifest import damage
from recipes import KINDS

NEW_USER, NEW_MOUNTS, PRIVATE = 0x10000000, 0x00020000, 0x44000  # <linux/sched.h>, <sys/mount.h>
FULL_AT = (15, 50, 100, 150, 200, 240)  # per cent of what a finished run takes
NO_MOUNTS, LARGE_ENOUGH = 3, 4
RECIPE_FILE = "from recipes import KINDS\n\nrun = KINDS[{kind!r}]()\n"
START_SECONDS, STOP_SECONDS = 60.0, 20.0


class Notes(Sinks):
    """Prints what a person should see."""

    def note(self, text: str) -> None:
        print(text, flush=True)


def checkpoints(place: Path, stops: int, seed: int) -> dict[str, Any]:
    """What was injected, and what was lost by it."""
    runs = undisturbed(("grpo", "ppo"), place / "whole")
    works = [
        partial(counted_of, damaged_files, runs["ppo"]),
        partial(counted_of, full_disks, runs["ppo"]),
        *(partial(stops_of, runs["grpo"], stops // CORES, seed + number) for number in range(CORES)),
    ]
    found = side_by_side(works, place)
    counts = sum((Counter(one["counts"]) for one in found), Counter[str]())
    return {**dict(counts), "lost": [what for one in found for what in one["lost"]]}


def counted_of(part: Callable[[Path, Whole, Counter[str]], list[str]], run: Whole, place: Path) -> dict[str, Any]:
    """What a part counted and lost."""
    counts: Counter[str] = Counter()
    lost = part(place, run, counts)
    return {"counts": counts, "lost": lost}


def stops_of(run: Whole, wanted: int, seed: int, place: Path) -> dict[str, Any]:
    """The same of runs that are asked to stop."""
    counts: Counter[str] = Counter()
    lost = stopped_runs(place, "grpo", run, wanted, random.Random(seed), counts)
    return {"counts": counts, "lost": lost}


def damaged_files(place: Path, run: Whole, counts: Counter[str]) -> list[str]:
    """The newest checkpoint of a run that was killed: each of its files harmed in each way, then continued."""
    in_child(partial(trapped, "ppo", Trap("ledger and metrics", run.calls["ledger and metrics"] - 3)), place / "begun")
    begun = place / "begun" / "run"
    newest = begun / "checkpoints" / "latest"
    files = sorted(path.relative_to(newest) for path in newest.rglob("*") if path.is_file())
    lost = []
    for file in files:
        for harm in (truncate, flip, Path.unlink):
            counts["checkpoint_files_harmed"] += 1
            there = place / f"{file.name}-{harm.__name__}"
            shutil.copytree(begun, there / "run", symlinks=True)
            harm(there / "run" / "checkpoints" / "latest" / file)
            lost += [f"{harm.__name__} {file}: {what}" for what in continued("ppo", there, run)]
            said = (there / "said.txt").read_text()
            if file.name not in said and "manifest.json" not in said:
                lost.append(f"{harm.__name__} {file} was not named: {said}")
            shutil.rmtree(there)
    return lost


def truncate(path: Path) -> None:
    """Half of it."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def noted(kind: str) -> None:
    gw.run(KINDS[kind](), "run", sinks=[Notes()])


def continued(kind: str, place: Path, run: Whole) -> list[str]:
    """What is different in the end from the run that nobody disturbed."""
    if in_child(partial(noted, kind), place):
        return [f"it did not continue: {(place / 'said.txt').read_text()[-300:]}"]
    return different(run.files, kept(place / "run"))


def full_disks(place: Path, run: Whole, counts: Counter[str]) -> list[str]:
    """A disk of its own, in memory, that is too small: seen before a save, and in the middle of whatever is written."""
    lost = []
    small = [run.bytes * share // 100_000 for share in FULL_AT]
    for kilobytes, checked in ((40_000, True), *((size, False) for size in small)):
        there = place / str(kilobytes)
        status = in_child(partial(on_small_disk, kilobytes, checked), there)
        said = (there / "said.txt").read_text()
        if status in (NO_MOUNTS, LARGE_ENOUGH):
            counts["full_disks_not_tried"] += 1
            continue
        counts["full_disks"] += 1
        told = " needs " if checked else "the disk is full"
        if status or told not in said or said.count("\n") > 1:
            lost.append(f"disk of {kilobytes} kB: exit {status}, said {said[-600:]!r}")
            continue
        lost += [f"disk of {kilobytes} kB: {what}" for what in continued("ppo", there, run)]
    return lost


def on_small_disk(kilobytes: int, checked: bool) -> None:
    """Runs until the disk is full, looks at what is left there, and brings it out."""
    libc = ctypes.CDLL(None, use_errno=True)
    Path("disk").mkdir()
    alone = libc.unshare(NEW_MOUNTS) == 0 or libc.unshare(NEW_USER | NEW_MOUNTS) == 0
    libc.mount(None, b"/", None, PRIVATE, None)
    if not alone or libc.mount(b"none", b"disk", b"tmpfs", 0, f"size={kilobytes}k".encode()):
        raise SystemExit(NO_MOUNTS)
    if not checked:  # as where another process takes the room in between
        for module in (groupwise.runs.saver, groupwise.runs.session):
            module.require_space = lambda *arguments: None  # type: ignore[attr-defined]
    try:
        gw.run(KINDS["ppo"](), "disk/run", sinks=[])
    except gw.UserError as error:
        print(error)
    else:
        raise SystemExit(LARGE_ENOUGH)
    place = RunDirectory(Path("disk/run"))
    whole_ones = (*place.checkpoints("ppo").values(), *(place.path / "models").glob("[!.]*"))
    broken = [wrong for path in whole_ones if (wrong := damage(path))]
    if place.path.exists():
        shutil.copytree(place.path, "run", symlinks=True)
    raise SystemExit(1 if broken else 0)


def stopped_runs(
    place: Path, kind: str, run: Whole, wanted: int, draw: random.Random, counts: Counter[str]
) -> list[str]:
    """The command itself, asked to stop at any instant by either signal, until it is done; twice at once sometimes."""
    lost: list[str] = []
    attempt = 0
    while counts["stops"] < wanted and attempt < 4 * wanted:
        there = place / str(attempt)
        there.mkdir(parents=True)
        (there / "recipe.py").write_text(RECIPE_FILE.format(kind=kind))
        number = (signal.SIGTERM, signal.SIGINT)[attempt % 2]
        lost += [f"{number.name}: {what}" for what in stopped_once(there, number, attempt % 5 == 4, run, draw, counts)]
        lost += [f"after {number.name}: {what}" for what in continued_command(there, run)]
        attempt += 1
    return lost


def command() -> None:
    """``groupwise run`` as a user calls it, in a child."""
    from groupwise.cli import main

    raise SystemExit(main(["run", "recipe.py", "--out", "run"]))


def stopped_once(
    place: Path, number: signal.Signals, twice: bool, run: Whole, draw: random.Random, counts: Counter[str]
) -> list[str]:
    child = spawned(command, place)
    deadline = time.monotonic() + START_SECONDS
    while not (place / "run" / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(draw.uniform(0, run.seconds))
    os.kill(child, number)
    asked = time.monotonic()
    if twice:
        os.kill(child, number)
    status = ended(child)
    said = (place / "said.txt").read_text()
    if status == 0:
        return []  # it was done already
    counts["stops"] += 1
    counts[f"stops_by_{number.name}"] += 1
    if twice and status == -number:
        return []
    if status != 128 + number or "to continue: groupwise run recipe.py --out run" not in said:
        return [f"exit {status}, said {said[-300:]!r}"]
    return [f"took {time.monotonic() - asked:.0f} s"] if time.monotonic() - asked > STOP_SECONDS else []


def continued_command(place: Path, run: Whole) -> list[str]:
    if in_child(command, place):
        return [f"it did not continue: {(place / 'said.txt').read_text()[-300:]}"]
    return different(run.files, kept(place / "run"))
