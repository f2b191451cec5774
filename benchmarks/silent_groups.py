"""Seconds of a learning step in which some groups have equal rewards, as it is and with their zeros sent backward, in
turn, on one machine.

python benchmarks/silent_groups.py       the model M, 8 prompts of 80 tokens with 8 completions of 25, where 0, 2, 4 and
                                         6 groups have equal rewards; writes benchmarks/silent_groups.json
    --model DIR                          another model
    --times 5                            pairs of steps, after one that warms up
    --results FILE                       written instead
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent / "speed"))
from cases import M
from step import Bench, Shape

from groupwise.engines import Native
from groupwise.learners import Local, backward
from groupwise.learners.device import machine
from groupwise.learners.placement import OneProcess
from groupwise.runs.environment import versions
from groupwise.types import Group

RESULTS = Path(__file__).with_name("silent_groups.json")
SHAPE = Shape(8, 8, 80, 25)
SILENT = (0, 2, 4, 6)


def with_equal_rewards(groups: Sequence[Group], count: int, version: int) -> list[Group]:
    """Returns the groups with rewards 0 and 1 in turn, those of the first ``count`` all 1, drawn by this version."""
    changed = []
    for number, group in enumerate(groups):
        rewards = [1.0 if number < count else float(place % 2) for place in range(len(group.rollouts))]
        rollouts = (
            replace(rollout, rewards={len(rollout.tokens) - 1: reward}, version=version)
            for rollout, reward in zip(group.rollouts, rewards, strict=True)
        )
        changed.append(replace(group, rollouts=tuple(rollouts)))
    return changed


def everything_sent(bench: Bench, groups: Sequence[Group]) -> float:
    """Returns the seconds of a step whose zeros go backward, too."""
    nobody = mock.patch.object(backward, "rows_without_gradient", return_value=frozenset())
    never = mock.patch.object(OneProcess, "silent", return_value=False)
    with nobody, never:
        return bench.learn(groups)


def measured(directory: Path, times: int) -> dict[str, dict[str, float]]:
    """Returns the median seconds of both, and the median of their ratios, by how many groups have equal rewards."""
    bench, found = Bench(directory, Local(device="cpu"), Native(), "cpu"), {}
    with closing(bench.learner):
        groups, _ = bench.sample(SHAPE)
        bench.learn(groups)
        for count in SILENT:

            def drawn(count: int = count) -> list[Group]:
                return with_equal_rewards(groups, count, bench.learner.version)

            pairs = [(everything_sent(bench, drawn()), bench.learn(drawn())) for _ in range(times)]
            before, after = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(new / old for old, new in pairs)
            found[str(count)] = {"sent": round(before, 3), "left out": round(after, 3), "ratio": round(ratio, 3)}
            print(f"{count} of {SHAPE.prompts} groups: {before:.2f} s with zeros sent backward, {after:.2f} s without")
    return found


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = chosen.model or M.save(Path(scratch) / "model", SHAPE.prompt + SHAPE.completion)
        found = measured(model, chosen.times)
    value = {
        "command": "python benchmarks/silent_groups.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "model": chosen.model.name if chosen.model else "M",
        "shape": vars(SHAPE),
        "groups with equal rewards": found,
    }
    chosen.results.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
