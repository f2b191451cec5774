"""This module keeps held-out problems in several sets, by name: each is evaluated and shown by itself, and all of them
together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from groupwise.types import Example

LOOKED_AT = 20_000
UNNAMED = "others"
"""Rows without a name beside sets that have one."""


def held_out_sets(sets: Mapping[str, Sequence[Example]]) -> tuple[Example, ...]:
    """Makes ``Task.held_out`` of several sets by name, one row of each in turn."""
    named = [[replace(row, held_out_set=name) for row in rows] for name, rows in sets.items()]
    return tuple(row for turn in itertools.zip_longest(*named) for row in turn if row is not None)


def set_of(example: Example) -> str:
    """The name of its set; of a row that was given none, verl's column ``data_source``; "" without either."""
    source = example.columns.get("data_source", "")
    return example.held_out_set or (source if isinstance(source, str) else "")


def places_by_set(examples: Sequence[Example]) -> dict[str, tuple[int, ...]]:
    """Returns where the rows of each set stand, sets in the order of their first rows; nothing where all are one
    set."""
    found: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        found.setdefault(set_of(example) or UNNAMED, []).append(place)
    return {name: tuple(places) for name, places in found.items()} if len(found) > 1 else {}


def first_of_each_set(examples: Sequence[Example], count: int) -> list[Example]:
    """The first ``count`` rows of each set, one of each in turn; of a single set simply its first ones. Of rows that
    are made on demand without end the first ``LOOKED_AT`` say which sets there are."""
    sets = places_by_set([examples[place] for place in range(min(len(examples), max(count, LOOKED_AT)))])
    if not sets:
        return [examples[place] for place in range(min(count, len(examples)))]
    turns = itertools.zip_longest(*(places[:count] for places in sets.values()))
    return [examples[place] for turn in turns for place in turn if place is not None]
