"""What an ordinary answer costs where it is scored behind guards, and beside another revision, in pairs.

python benchmarks/faults --only cost --before REVISION
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("cost_worker.py")
KINDS = ("code", "math", "chain_sum", "polynomial_equations")
"""Of the rewards Code and Math, and two families of reasoning-gym."""
COMPLETIONS, ROUNDS = 32, 8


def cost(place: Path, before: str = "") -> dict[str, Any]:
    """Milliseconds an answer, of processors and of the clock; ``before``: also what the tree of that revision needs,
    and the median of the ratios, round for round."""
    trees = {"now": ROOT}
    if before:
        trees["before"] = checkout(before, place / "before")
    found: dict[str, Any] = {"before": before} if before else {}
    for kind in KINDS:
        rounds = compared(kind, trees)
        found[kind] = {
            f"{side}_{what}_milliseconds": round(statistics.median(row[side][which] for row in rounds), 2)
            for side in trees
            for which, what in enumerate(("clock", "cpu"))
        }
        if before:
            for which, what in enumerate(("clock", "cpu")):
                ratios = [row["now"][which] / row["before"][which] for row in rounds]
                found[kind][f"{what}_ratio"] = round(statistics.median(ratios), 2)
    return found | {"lost": []}


def checkout(revision: str, folder: Path) -> Path:
    """The source of a revision of this repository."""
    packed = folder.with_suffix(".tar")
    subprocess.run(["git", "archive", "--output", str(packed), revision, "src"], cwd=ROOT, check=True)
    with tarfile.open(packed) as file:
        file.extractall(folder, filter="data")
    return folder


def compared(kind: str, trees: dict[str, Path]) -> list[dict[str, tuple[float, float]]]:
    """Of each round each side's milliseconds an answer: by the clock, and of processors. The sides take turns."""
    workers = {side: started(kind, tree) for side, tree in trees.items()}
    try:
        for worker in workers.values():
            line(worker)
        return [
            {side: measured(workers[side]) for side in (list(workers) if number % 2 else reversed(list(workers)))}
            for number in range(ROUNDS)
        ]
    finally:
        for worker in workers.values():
            worker.communicate()


def started(kind: str, tree: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), kind, str(COMPLETIONS)]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def measured(worker: subprocess.Popen[str]) -> tuple[float, float]:
    assert worker.stdin
    worker.stdin.write("\n")
    worker.stdin.flush()
    clock, cpu = (1e3 * float(word) / COMPLETIONS for word in line(worker).split())
    return clock, cpu


def line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout
    said = worker.stdout.readline()
    if not said:
        raise RuntimeError("a side of the comparison ended; what it wrote on standard error says why")
    return said
