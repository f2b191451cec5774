"""Files of a run cut anywhere, or with blocks of zeros, as a machine that lost power leaves them; then it goes on."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from compare import different, kept
from damages import noted
from forked import ended, in_child, spawned
from kills import Whole, trapped, undisturbed
from traps import Trap

ALL, EVALUATED = "grpo", "sft"
"""Kinds of runs: of the first every file is harmed, of the second, which has evaluated a stage, evaluation.json."""
CUTS = 3  # of each file at random places, beside its two ends
BLOCK = 4096
MADE_AGAIN = ("groups.json", "evaluation.json")
"""Of these what was lost is lost: they begin anew."""
TELL_OF_IT = {"metrics.jsonl": ("alarms.jsonl",), "evaluation.json": ("models/two/README.md",)}
"""What is made of another file's rows; a model's card compares it with the one before the stage, which is lost."""
SIDE_BY_SIDE = 2

Harm = Callable[[Path, random.Random], None]


def cut(path: Path, draw: random.Random) -> None:
    """At any byte."""
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def emptied(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def nearly_whole(path: Path, draw: random.Random) -> None:
    """Without its last byte."""
    path.write_bytes(path.read_bytes()[:-1])


def zeros_behind(path: Path, draw: random.Random) -> None:
    """As a file system fills what was never written."""
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)] + b"\0" * BLOCK)


def zeros_within(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = draw.randrange(len(content))
    content[start : start + BLOCK] = bytes(len(content[start : start + BLOCK]))
    path.write_bytes(bytes(content))


class Harmed(NamedTuple):
    """A file of a run of some kind, and what is done to it."""

    kind: str
    file: str
    harm: Harm
    seed: int


HARMS: list[Harm] = [*[cut] * CUTS, emptied, nearly_whole, zeros_behind, zeros_within]


def halves(place: Path, seed: int) -> dict[str, Any]:
    """Each file harmed in each way, and the run continued."""
    draw = random.Random(seed)
    runs = undisturbed((ALL, EVALUATED), place / "whole")
    plan: list[Harmed] = []
    for kind, run in runs.items():
        begun = place / "begun" / kind
        in_child(partial(trapped, kind, Trap("ledger and metrics", run.calls["ledger and metrics"] - 3)), begun)
        files = harmed_files(begun / "run") if kind == ALL else ["evaluation.json"]
        plan += [Harmed(kind, file, harm, draw.randrange(2**32)) for file in files for harm in HARMS]
    counts: Counter[str] = Counter(f"of_{Path(each.file).suffix[1:]}_files" for each in plan)
    lost: list[str] = []
    for start in range(0, len(plan), SIDE_BY_SIDE):
        these = {place / str(number): each for number, each in enumerate(plan[start:][:SIDE_BY_SIDE], start)}
        children = [
            (spawned(partial(noted, each.kind), prepared(there, place / "begun" / each.kind, each)), there, each)
            for there, each in these.items()
        ]
        for child, there, each in children:
            lost += judged(ended(child), there, runs[each.kind], each)
    return {"continued": len(plan), **dict(sorted(counts.items())), "lost": lost}


def harmed_files(run: Path) -> list[str]:
    """What a run reads when it goes on: all but models and checkpoints' own contents, which have their hashes."""
    names = ["metrics.jsonl", "times.jsonl", "groups.json"]
    names += [path.relative_to(run).as_posix() for path in sorted(run.glob("ledger/*/*.parquet"))[:1]]
    newest = (run / "checkpoints" / "latest").resolve()
    return [*names, (newest / "manifest.json").relative_to(run.resolve()).as_posix()]


def prepared(there: Path, begun: Path, each: Harmed) -> Path:
    """A copy of the run that broke off, one file of it harmed."""
    shutil.copytree(begun, there, symlinks=True)
    each.harm(there / "run" / each.file, random.Random(each.seed))
    (there / "said.txt").unlink()
    return there


def judged(status: int, there: Path, run: Whole, each: Harmed) -> list[str]:
    """What is different in the end but for the harmed file, and what is told of its rows."""
    said = (there / "said.txt").read_text()
    name = f"{each.harm.__name__} {each.file}"
    if status:
        return [f"{name}: it did not continue: {said[-300:]}"]
    touched = (each.file, *TELL_OF_IT.get(each.file, ()))
    lost = [f"{name}: {what}" for what in different(run.files, kept(there / "run")) if what not in touched]
    lost += [f"{name}: not named"] * (each.file in MADE_AGAIN and each.harm is emptied and each.file not in said)
    shutil.rmtree(there)
    return lost
