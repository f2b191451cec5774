"""Faults injected into real runs, and what was lost: nothing, or this says what.

python benchmarks/faults                  all parts; writes benchmarks/faults.json
    --only kills checkpoints              of those parts alone; an unknown name lists them all
    --kills 60                            how many at least
    --ranks 20                            how often a process of a run of several is killed
    --stops 16                            how often the command is asked to stop, by SIGTERM and SIGINT in turn
    --inputs 100000                       of each fuzz target
    --episodes 10000                      at least, of random conversations
    --before REVISION                     of this repository, to compare the cost of isolation with
    --seed 0                              of where they fall
    --results FILE                        written instead of benchmarks/faults.json
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a process that computes in one thread can be forked

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import methods
import properties
from caches import caches
from conversations import conversations
from cost import cost
from damages import checkpoints
from halves import halves
from kills import kills, processes
from limits import limits
from ranks import ranks
from strangers import strangers
from trackers import trackers

import fuzz
import rewards
from groupwise.learners.device import machine
from groupwise.runs.environment import versions

RESULTS = Path(__file__).resolve().parents[1] / "faults.json"

Part = Callable[[Path], dict[str, Any]]
"""Injects faults, with all it writes below a directory; ``lost`` of its result lists what did not survive."""


def main() -> int:
    """The exit code says whether anything was lost."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=60)
    options.add_argument("--ranks", type=int, default=20)
    options.add_argument("--stops", type=int, default=16)
    options.add_argument("--inputs", type=int, default=fuzz.RUNS)
    options.add_argument("--episodes", type=int, default=10_000)
    options.add_argument("--before", default="")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--results", type=Path, default=RESULTS)
    options.add_argument("--only", nargs="+", default=None)
    chosen = options.parse_args()
    parts: dict[str, Part] = {
        "processes": processes,
        "kills": partial(kills, wanted=chosen.kills, seed=chosen.seed),
        "turns": partial(kills, wanted=-(-chosen.kills // 3), seed=chosen.seed, kinds=("turns",)),
        "ranks": partial(ranks, wanted=chosen.ranks, seed=chosen.seed),
        "checkpoints": partial(checkpoints, stops=chosen.stops, seed=chosen.seed),
        "files": partial(halves, seed=chosen.seed),
        "limits": limits,
        "trackers": trackers,
        "caches": caches,
        "methods": methods.run,
        "rewards": lambda place: rewards.run(),
        "fuzz": lambda place: fuzz.run(chosen.inputs),
        "properties": lambda place: properties.run(chosen.seed),
        "conversations": partial(conversations, episodes=chosen.episodes, seed=chosen.seed),
        "strangers": strangers,
        "cost": partial(cost, before=chosen.before),
    }
    unknown = set(chosen.only or ()) - set(parts)
    if unknown:
        options.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    for name in chosen.only or parts:
        started, worked, load = time.monotonic(), cpu_seconds(), round(os.getloadavg()[0], 1)
        with tempfile.TemporaryDirectory(prefix="faults-") as place:
            found = apart(parts[name], Path(place))
        took = {
            "seconds": round(time.monotonic() - started),
            "cpu_seconds": round(cpu_seconds() - worked),
            "load": load,
        }
        merge(chosen.results, name, found | took)
    return report(json.loads(chosen.results.read_text()))


def apart(part: Part, place: Path) -> dict[str, Any]:
    """What a part found, in a process of its own: parts fork, and a process that has computed has threads that a fork
    leaves behind, so that its children may wait for them for ever."""
    child = os.fork()
    if not child:
        status = 1
        try:
            (place.parent / f"{place.name}.json").write_text(json.dumps(part(place)))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"{part}: it could not be tried to its end")
    found = place.parent / f"{place.name}.json"
    try:
        return json.loads(found.read_text())  # type: ignore[no-any-return]
    finally:
        found.unlink()


def cpu_seconds() -> float:
    """Of this process and of its children that have ended: what a part costs, whatever else the machine does."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def merge(path: Path, name: str, found: dict[str, Any]) -> None:
    """One part's results into the file, whose ``lost`` counts what all parts lost."""
    old = json.loads(path.read_text()) if path.exists() else {}
    parts = {**old.get("faults", {}), name: found}
    about = {"machine": machine(), "versions": versions(), "date": datetime.now(UTC).date().isoformat()}
    about |= {name: sum(part.get(name, 0) for part in parts.values()) for name in ("seconds", "cpu_seconds")}
    result = about | {"lost": sum(len(part["lost"]) for part in parts.values()), "faults": parts}
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def report(result: dict[str, Any]) -> int:
    """A line a part."""
    for name, part in result["faults"].items():
        counts = ", ".join(f"{count} {what}" for what, count in part.items() if isinstance(count, int))
        print(f"{name}: {counts}; lost: {', '.join(part['lost']) or 'nothing'}")
    return 1 if result["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
