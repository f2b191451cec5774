"""This module says what the scale of rewards does to a method: found by trying, on the numbers of a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from groupwise.algorithm import Algorithm
from groupwise.explain.case import Case, Response
from groupwise.explain.numbers import compute

FACTOR, SHIFT = 10.0, 1.0
SAME = 1e-9
"""Relative to the largest advantage."""


def scale_effect(algorithm: Algorithm, case: Case, method: str) -> str:
    """Returns a sentence; empty for a method that asks no rewards, or that learns from scores of its own."""
    if algorithm.trains_scorer or not algorithm.advantage.judges():
        return ""
    before = _advantages(algorithm, case, method)
    larger = _advantages(algorithm, _with_rewards(case, lambda reward: FACTOR * reward), method)
    higher = _advantages(algorithm, _with_rewards(case, lambda reward: reward + SHIFT), method)
    factor = f"rewards {FACTOR:g} times as large {_effect(before, larger)}"
    shift = "changes none of them" if _same(before, higher) else "changes them"
    return f"{factor}; {SHIFT:g} added to every reward {shift}"


def _advantages(algorithm: Algorithm, case: Case, method: str) -> list[float]:
    return [value for tokens in compute(algorithm, case, method).responses() for value in tokens.advantages]


def _effect(before: Sequence[float], after: Sequence[float]) -> str:
    """How the second compare with the first, in words."""
    if _same(before, after):
        return "leave the advantages as they are"
    ratios = [new / old for old, new in zip(before, after, strict=True) if old]
    found = sorted({f"{ratio:.3g}" for ratio in ratios}, key=float)
    if found == ["1"]:
        return "hardly change the advantages"
    if not found:
        return "change the advantages"
    return f"make the advantages {' to '.join(dict.fromkeys((found[0], found[-1])))} times as large"


def _same(before: Sequence[float], after: Sequence[float]) -> bool:
    most = max(map(abs, (*before, *after)), default=0.0)
    return all(abs(new - old) <= SAME * most for old, new in zip(before, after, strict=True))


def _with_rewards(case: Case, change: Callable[[float], float]) -> Case:
    """The same completions, and the same of them right, with other rewards."""
    groups = [[_changed(case, response, change) for response in group] for group in case.groups]
    greedy = None if case.greedy_rewards is None else [change(reward) for reward in case.greedy_rewards]
    return replace(case, groups=groups, greedy_rewards=greedy)


def _changed(case: Case, response: Response, change: Callable[[float], float]) -> Response:
    def each(places: Mapping[int, float] | None) -> Mapping[int, float] | None:
        return None if places is None else {place: change(value) for place, value in places.items()}

    return replace(
        response,
        reward=None if response.reward is None else change(response.reward),
        step_rewards=each(response.step_rewards),
        placed=each(response.placed),
        parts={name: None if value is None else change(value) for name, value in response.parts.items()},
        correct=case.verdict(response),
        judged=True,
    )
