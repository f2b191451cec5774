"""One cache file, asked by two rewards in turn and by several processes at once: none hears another's scores."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from forked import ended, spawned

import groupwise as gw
from groupwise.rewards import Cached
from groupwise.types import Example, Prompt, Rollout, Score

TEXTS = ("", "a", "ab", "7", "#### 3", "é", "🙂", "\0", "a" * 5000)
PROCESSES = 4


def times(factor: float) -> Callable[..., float]:
    def score(completion: str) -> float:
        return factor * len(completion)

    return score


def scaled(completion: str, factor: float = 1.0) -> float:
    return factor * len(completion)


class Scorer:
    """What it says depends on what it was made with."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, completion: str) -> float:
        return self.factor * len(completion)

    def method(self, completion: str) -> float:
        return self.factor * len(completion)


@dataclass(frozen=True)
class Options:
    """A reward of the user's own, whose options say all."""

    factor: float
    name: str = "mine"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(self.factor * len(rollout.text)) for rollout in rollouts]


def reward(function: Callable[..., Any]) -> Any:
    return gw.as_reward(function, name="mine", isolated=False)


PAIRS: dict[str, Callable[[float], Any]] = {
    "closures": lambda factor: reward(times(factor)),
    "partials": lambda factor: reward(functools.partial(scaled, factor=factor)),
    "instances": lambda factor: reward(Scorer(factor)),
    "bound methods": lambda factor: reward(Scorer(factor).method),
    "lambdas": lambda factor: reward(lambda completion: factor * len(completion)),
    "defaults": lambda factor: reward(lambda completion, by=factor: by * len(completion)),
    "dataclasses": Options,
}


def caches(place: Path) -> dict[str, Any]:
    """Each pair of rewards in a file of its own, and again in one file of all, by several processes at once."""
    lost: list[str] = []
    refused = 0
    for name, make in PAIRS.items():
        for first, second in itertools.permutations((1.0, 2.0, -0.5), 2):
            for factor in (first, second, first):
                found = said(make(factor), place / f"{name}.sqlite")
                refused += found is None
                if found not in (None, expected(factor)):
                    lost.append(f"{name}: {factor:g} times is {found} beside {second:g} times")
    children = [
        spawned(partial(all_at_once, place / "one.sqlite", number), place / str(number)) for number in range(PROCESSES)
    ]
    for number, child in enumerate(children):
        if ended(child):
            lost.append(f"process {number}: {(place / str(number) / 'said.txt').read_text()[-300:]}")
    tried = len(PAIRS) * 6 * 3
    return {
        "pairs_of_rewards": len(PAIRS) * 6,
        "asked": tried,
        "refused": refused,
        "processes": PROCESSES,
        "lost": lost,
    }


def said(one: Any, path: Path) -> list[float | None] | None:
    """Its scores through a cache; None where the cache says that it cannot tell this reward from others."""
    try:
        return [score.value for score in Cached(one, path).score(rollouts())]
    except gw.UserError:
        return None


def expected(factor: float) -> list[float | None]:
    return [factor * len(text) for text in TEXTS]


def all_at_once(path: Path, number: int) -> None:
    """Raises AssertionError where this process heard what another reward says."""
    for turn in range(20):
        for name, make in PAIRS.items():
            factor = float((turn + number) % 5)
            found = said(make(factor), path)
            assert found in (None, expected(factor)), (name, factor, found)


def rollouts() -> list[Rollout]:
    prompt = Prompt(Example("row", "?"), (1, 2))
    return [Rollout(prompt, (3,), (True,), (-1.0,), text, True, 0) for text in TEXTS]
