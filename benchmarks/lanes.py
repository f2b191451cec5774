"""What lanes are worth when learning, alone and beside a process that burns a core: pairs of runs, one after the other.

    PYTHONPATH=src python benchmarks/lanes.py                    writes benchmarks/lanes.json
    PYTHONPATH=src python benchmarks/lanes.py --before SOURCES   also against an earlier ``src``

Each side is a process of its own that waits for its turn without computing; in a round every side makes one train step
on the same 512 short completions of the quickstart's model, in an order that turns round. A ratio is that of two sides
in one round, so that what else the machine does in a minute falls on both. The burner is started and ended in here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GROUPS, SIZE, TOKENS, PROMPT = 32, 16, 48, 14
BURN = "while True: pass"


def main() -> None:
    """Measures and writes."""
    asked = arguments()
    if asked.worker:
        return worker(asked.model, asked.lanes)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([sys.executable, __file__, "--make", place], check=True)
        found = {
            "what": f"one train step on {GROUPS * SIZE} completions of up to {TOKENS} tokens, the quickstart's model",
            "lanes": asked.lanes,
            "machine": machine(),
            **{name: measured(asked, place, burning) for name, burning in (("alone", False), ("beside", True))},
        }
    asked.to.write_text(json.dumps(found, indent=1) + "\n")
    for name in ("alone", "beside"):
        print(name, json.dumps(found[name]["ratios"], indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--before", type=Path, help="the src folder of an earlier state, as two more sides")
    parser.add_argument("--to", type=Path, default=HERE / "lanes.json")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make:
        make_model(asked.make)
        raise SystemExit
    return asked


def measured(asked: argparse.Namespace, place: str, burning: bool) -> dict[str, Any]:
    """Medians of each side's seconds, and of the ratios within rounds with their quartiles."""
    sources = {"": None, **({"before, ": asked.before} if asked.before else {})}
    sides = {f"{name}{count} lanes": (path, count) for name, path in sources.items() for count in (1, asked.lanes)}
    rounds: list[dict[str, dict[str, float]]] = []
    with opened(sides, place) as workers, burner(burning):
        for number in range(asked.rounds + 2):
            names = list(sides)[:: 1 if number % 2 else -1]
            timed = {name: turn(workers[name]) for name in names}
            if number >= 2:  # the first warm up
                rounds.append(timed)
    pairs = [(f"{name}{asked.lanes} lanes", f"{name}1 lanes") for name in sources]
    if asked.before:
        pairs += [(f"{count} lanes", f"before, {count} lanes") for count in (1, asked.lanes)]
    return {
        "rounds": asked.rounds,
        "wall_seconds": {name: spread([each[name]["wall"] for each in rounds]) for name in sides},
        "cpu_seconds": {name: spread([each[name]["cpu"] for each in rounds]) for name in sides},
        "ratios": {
            f"{first} / {second}": {
                kind: spread([each[first][kind] / each[second][kind] for each in rounds]) for kind in ("wall", "cpu")
            }
            for first, second in pairs
        },
    }


def spread(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": round(middle, 4), "quartiles": [round(low, 4), round(high, 4)], "least": round(min(values), 4)}  # type: ignore[dict-item]


@contextmanager
def opened(sides: dict[str, tuple[Path | None, int]], place: str) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A process for each side, ready."""
    workers = {}
    try:
        for name, (path, count) in sides.items():
            command = [sys.executable, __file__, "--worker", "--model", place, "--lanes", str(count)]
            environment = dict(os.environ) | ({"PYTHONPATH": str(path)} if path else {})
            workers[name] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        for process in workers.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield workers
    finally:
        for process in workers.values():
            process.kill()
            process.wait()


@contextmanager
def burner(burning: bool) -> Iterator[None]:
    """Beside a process that never waits, where there is to be one."""
    process = subprocess.Popen([sys.executable, "-c", BURN]) if burning else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def turn(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def make_model(place: Path) -> None:
    sys.path.insert(0, str(HERE.parent / "examples"))
    import quickstart

    quickstart.run.model.save(place)


def worker(place: Path, lanes: int) -> None:
    """A train step for every line that comes in."""
    import torch

    from groupwise.algorithm import Outputs
    from groupwise.learners import Local

    learner = Local(device="cpu", threads=lanes).open(place)
    learner.start_stage("")
    rollouts = completions()

    def coefficients(_: object, said: Outputs) -> Outputs:
        return Outputs(torch.full_like(said.logprobs, 0.5))

    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        learner.backward(rollouts, 1.0, coefficients)
        learner.step(len(rollouts), 1e-5)
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}), flush=True)


def completions() -> list[Any]:
    """Of all lengths from 8 to ``TOKENS``, always the same."""
    import torch

    from groupwise.types import Example, Prompt, Rollout

    draw = torch.Generator().manual_seed(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 200, (count,), generator=draw).tolist())

    made = []
    for group in range(GROUPS):
        prompt = Prompt(Example(str(group), ""), ids(PROMPT))
        for length in torch.randint(8, TOKENS + 1, (SIZE,), generator=draw).tolist():
            told = (True,) * length, (-1.0,) * length, "", True, 0
            made.append(Rollout(prompt, ids(length), *told))
    return made


def machine() -> dict[str, Any]:
    import torch

    from groupwise.learners.device import machine as facts

    return {**facts(), "torch": torch.__version__, "load_before": os.getloadavg()[0]}


if __name__ == "__main__":
    main()
