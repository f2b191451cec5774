"""What the raw times of cpu.json come to: medians, ratios and whether each bar is met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

TUNED, DEFAULT, SAMPLING, MEMORY = 3.6, 7.0, {"S": 5.0, "M": 2.0}, 0.5
"""Geometric means over the table's cases; of sampling over a model's cases; of memory every case."""
GENERATE = {"SmolLM2": 4.0}
"""Of sampling against transformers' ``generate``, in every case of these models, which are beside the table."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """Of one side and case: medians over its steps with its better thread count. Memory in MB, the largest."""

    seconds: float
    sampling: float
    learning: float
    least: float
    steps: int
    threads: int
    peak: float
    grown: float

    @property
    def rest(self) -> float:
        """Rewards, tokenizers, logging, what is kept."""
        return max(0.0, self.seconds - self.sampling - self.learning)


@dataclass(frozen=True)
class Bar:
    """Something promised, and what was found."""

    text: str
    wanted: float
    found: float
    most: bool = False

    @property
    def met(self) -> bool:
        return self.found <= self.wanted if self.most else self.found >= self.wanted


def best_threads(steps: Sequence[Row], key: str = "seconds") -> list[Row]:
    """The steps with the thread count whose median is least."""
    by_count: dict[int, list[Row]] = {}
    for step in steps:
        by_count.setdefault(step["threads"], []).append(step)
    return min(by_count.values(), key=lambda own: median(step[key] for step in own))


def figures(case: Row, side: str) -> Figures | None:
    """None where the side was not measured."""
    steps = case["sides"].get(side, {}).get("steps")
    if not steps:
        return None
    best = best_threads(steps)
    middle = {name: median(step[name] for step in best) for name in ("seconds", "sampling", "learning")}
    peak, grown = (max(step[name] for step in best) for name in ("peak_mb", "grown_mb"))
    return Figures(
        **middle, least=min(step["seconds"] for step in best), steps=len(best), threads=best[0]["threads"],
        peak=peak, grown=grown,
    )  # fmt: skip


def times(case: Row, side: str) -> float | None:
    """How many times faster a step of ours is."""
    ours, theirs = figures(case, "ours"), figures(case, side)
    return theirs.seconds / ours.seconds if ours and theirs else None


def tokens_per_second(case: Row, side: str) -> float | None:
    """Of sampling alone."""
    steps = case["vllm"] if side == "vllm" else case["sides"].get(side, {}).get("steps")
    if not steps:
        return None
    best = best_threads(steps, "sampling" if side == "vllm" else "seconds")
    return median(step["tokens"] / step["sampling"] for step in best)


def mean(values: Sequence[float]) -> float:
    """Geometric."""
    return prod(values) ** (1 / len(values))


def bars(result: Row) -> Iterator[Bar]:
    """Those of which something was measured."""
    promised = [case for case in result["cases"] if case["bar"]]
    for case in promised:
        found = times(case, "trl")
        if found:
            yield Bar(f"{case['case']}: a step against TRL tuned", case["bar"], found)
    table = [case for case in promised if case["size"]["name"] not in GENERATE]
    for side, wanted, name in (("trl", TUNED, "TRL tuned"), ("trl_defaults", DEFAULT, "TRL with its defaults")):
        known = [found for case in table if (found := times(case, side))]
        if known:
            yield Bar(f"geometric mean over {len(known)} cases against {name}", wanted, mean(known))
    for size, wanted in SAMPLING.items():
        own = [case for case in table if case["size"]["name"] == size and tokens_per_second(case, "vllm")]
        ratios = [(tokens_per_second(case, "ours") or 0.0) / (tokens_per_second(case, "vllm") or 1.0) for case in own]
        if ratios:
            yield Bar(f"sampling on {size} against vLLM, geometric mean of {len(ratios)}", wanted, mean(ratios))
    for case in promised:
        wanted, theirs = GENERATE.get(case["size"]["name"]), tokens_per_second(case, "trl")
        if wanted and theirs:
            rate = (tokens_per_second(case, "ours") or 0.0) / theirs
            yield Bar(f"{case['case']}: sampling against transformers' generate", wanted, rate)
    yield from _memory(result["cases"])


def _memory(cases: Sequence[Row]) -> Iterator[Bar]:
    pairs = [
        (ours, theirs)
        for case in cases
        if (ours := figures(case, "ours_small") or figures(case, "ours")) and (theirs := figures(case, "trl"))
    ]
    if pairs:
        worst = max(ours.peak / theirs.peak for ours, theirs in pairs)
        yield Bar("peak memory of the process, share of TRL's, worst case", MEMORY, worst, most=True)
        worst = max(ours.grown / theirs.grown for ours, theirs in pairs)
        yield Bar("memory beside what imports take, share of TRL's, worst case", MEMORY, worst, most=True)
