"""One GRPO step by several processes and by one with as many threads, in turn, on one machine.

python benchmarks/processes.py           the model M, 8 prompts of 32 tokens with 8 completions of 64; writes
                                         benchmarks/processes.json, and says how many times as long several take
    --processes 2                        and as many threads of the one process
    --times 5                            pairs of steps, after one that warms up
    --completion 64                      tokens of a completion
    --results FILE                       written instead
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "speed"))
from cases import M, Size
from step import Bench, Shape

from groupwise.engines import Native
from groupwise.learners import FSDP, Local
from groupwise.learners.device import machine
from groupwise.runs.environment import versions

RESULTS = Path(__file__).with_name("processes.json")


def measured(size: Size, shape: Shape, processes: int, times: int, place: Path) -> dict[str, list[float]]:
    """Seconds of steps, sampling and learning, each pair right after another."""
    directory = size.save(place / "model", shape.prompt + shape.completion)
    configs = {"one": Local(device="cpu", threads=processes), "several": FSDP(device="cpu", processes=processes)}
    benches = {name: Bench(directory, config, Native(), "cpu") for name, config in configs.items()}
    seconds: dict[str, list[float]] = {f"{name} {part}": [] for name in benches for part in ("sampling", "learning")}
    with closing(benches["one"].learner), closing(benches["several"].learner):
        for number in range(times + 1):
            for name, bench in benches.items():
                groups, sampling = bench.sample(shape)
                learning = bench.learn(groups)
                if number:
                    seconds[f"{name} sampling"].append(sampling)
                    seconds[f"{name} learning"].append(learning)
                warm = "" if number else " (warms up)"
                print(f"{name}: {sampling:.2f} s sampling, {learning:.2f} s learning{warm}", flush=True)
    return seconds


def ratio(seconds: dict[str, list[float]], *parts: str) -> float:
    """The median, over pairs, of how many times as long several processes take for these parts."""
    sums = {
        name: [sum(pair) for pair in zip(*(seconds[f"{name} {part}"] for part in parts), strict=True)]
        for name in ("one", "several")
    }
    return round(statistics.median(b / a for a, b in zip(sums["one"], sums["several"], strict=True)), 3)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--times", type=int, default=5)
    options.add_argument("--completion", type=int, default=64)
    options.add_argument("--results", type=Path, default=RESULTS)
    chosen = options.parse_args()
    shape = Shape(8, 8, 32, chosen.completion)
    with tempfile.TemporaryDirectory() as place:
        seconds = measured(M, shape, chosen.processes, chosen.times, Path(place))
    found = {"step": ratio(seconds, "sampling", "learning"), "learning": ratio(seconds, "learning")}
    about = {"machine": machine(), "versions": versions(), "date": datetime.now(UTC).date().isoformat()}
    about |= {"model": M.name, "processes": chosen.processes, "shape": vars(shape)}
    rounded = {name: [round(value, 3) for value in values] for name, values in seconds.items()}
    chosen.results.write_text(json.dumps(about | {"times_as_long": found, "seconds": rounded}, indent=1) + "\n")
    print(f"several processes take {found['step']} times as long for a step, {found['learning']} for learning")


if __name__ == "__main__":
    main()
