"""A small set of runs in which every two settings of a run that go together occur together in one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping

Combination = Mapping[str, str]

AXES: dict[str, tuple[str, ...]] = {
    "method": ("sft", "grpo", "ppo", "dpo", "online_rft", "iterative"),
    "adapters": ("none", "blocks", "head"),
    "dtype": ("float32", "bfloat16"),
    "critic": ("no critic", "head critic", "own critic"),
    "bits": ("32", "8"),
    "reference": ("no reference", "start", "refreshed", "directory"),
}
WITHOUT_REFERENCE = ("sft", "online_rft")
TRIES = 60


def fits(chosen: Combination) -> bool:
    """Whether a run of these settings, however many of them are chosen yet, is one."""
    method, critic, reference = (chosen.get(axis) for axis in ("method", "critic", "reference"))
    if method == "iterative" and chosen.get("adapters", "none") != "none":
        return False  # a scorer is trained whole
    if method and critic and (method == "ppo") != (critic != "no critic"):
        return False
    if method in WITHOUT_REFERENCE and reference not in (None, "no reference"):
        return False
    return not (method == "dpo" and reference == "no reference")


def pairs() -> set[frozenset[tuple[str, str]]]:
    """Of settings that some run has together."""
    every = [
        frozenset(((one, this), (other, that)))
        for one, other in itertools.combinations(AXES, 2)
        for this in AXES[one]
        for that in AXES[other]
    ]
    runs = [set(run.items()) for run in whole()]
    return {pair for pair in every if any(pair <= run for run in runs)}


def whole() -> Iterator[Combination]:
    """Yields every run there could be."""
    for values in itertools.product(*AXES.values()):
        chosen = dict(zip(AXES, values, strict=True))
        if fits(chosen):
            yield chosen


def covering(seed: int = 0) -> list[Combination]:
    """Runs that have all ``pairs``: each the one of many drawn that has the most of those still missing."""
    draw, missing, found = random.Random(seed), pairs(), list[Combination]()
    runs = list(whole())
    while missing:
        drawn = draw.sample(runs, TRIES)
        wanted = next(iter(sorted(missing, key=sorted)))
        drawn += [run for run in runs if wanted <= set(run.items())][:TRIES]
        best = max(drawn, key=lambda run: sum(pair <= set(run.items()) for pair in missing))
        missing = {pair for pair in missing if not pair <= set(best.items())}
        found.append(best)
    return found


def name_of(run: Combination) -> str:
    """Says its settings, those that are not there left out."""
    said = {"adapters": {"blocks": "lora", "head": "lora on the head", "none": ""}, "bits": {"8": "8 bits", "32": ""}}
    words = [said.get(axis, {}).get(value, value) for axis, value in run.items() if not value.startswith("no ")]
    return ", ".join(filter(None, words))
