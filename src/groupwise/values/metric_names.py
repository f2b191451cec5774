"""This module says which numbers a clock makes, or what happened to be known already: two runs of one recipe differ in
these alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

BEGINNINGS = ("seconds/", "tokens_per_second/", "step_time", "world/")
ENDINGS = ("/seconds", "/cached")


def is_timed(name: str) -> bool:
    """Says whether a metric of that name is one of them."""
    return name.startswith(BEGINNINGS) or name.endswith(ENDINGS)


def untimed(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """Returns the metrics that every run of the recipe has alike."""
    return {name: value for name, value in metrics.items() if not is_timed(name)}


def timed(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """Returns the numbers of a step that depend on the clock."""
    return {name: value for name, value in metrics.items() if is_timed(name)}
