"""This module holds the runs of many items in one table, in which those of a text are found at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from groupwise.corpus.grams import shown

if TYPE_CHECKING:
    from groupwise.corpus.grams import Hashes

LEAST_COMMON, COMMON_SHARE = 4, 0.02
"""A run that so many different items of one benchmark have, and more than that share of them, is its template's."""
SEVERAL = 2
"""Different items of one benchmark that share a phrase."""


@dataclass(frozen=True)
class Table:
    """Numbers of runs, in order, and the item of each: one run may belong to several items."""

    keys: Hashes
    items: numpy.ndarray

    @classmethod
    def of(cls, found: Mapping[int, Hashes]) -> Table:
        """Sorts the different runs of each item."""
        keys = numpy.concatenate([*found.values(), numpy.zeros(0, numpy.uint64)])
        items = numpy.repeat(numpy.array(list(found), numpy.int64), [len(runs) for runs in found.values()])
        order = numpy.argsort(keys, kind="stable")
        return cls(keys[order], items[order])

    def places(self, runs: Hashes) -> numpy.ndarray:
        """Indices into ``runs`` of those that are here."""
        if not len(self.keys) or not len(runs):
            return numpy.zeros(0, numpy.int64)
        found = numpy.searchsorted(self.keys, runs)
        found[found == len(self.keys)] = 0
        return numpy.flatnonzero(self.keys[found] == runs)

    def by_item(self, runs: Hashes) -> dict[int, list[int]]:
        """Where each item's runs lie among ``runs``, in order."""
        found: dict[int, list[int]] = {}
        places = self.places(runs)
        ends = (numpy.searchsorted(self.keys, runs[places], side).tolist() for side in ("left", "right"))
        for place, first, last in zip(places.tolist(), *ends, strict=True):
            for item in self.items[first:last].tolist():
                found.setdefault(item, []).append(place)
        return found


Runs = Sequence[tuple[int, "Hashes"]]
"""``(item, runs)`` in the order of the text; an item may come several times."""


def different(found: Runs) -> dict[int, Hashes]:
    """The different runs of each item."""
    mine: dict[int, list[Hashes]] = {}
    for item, runs in found:
        mine.setdefault(item, []).append(runs)
    return {item: numpy.unique(numpy.concatenate(runs)) for item, runs in mine.items()}


def phrases(found: Mapping[int, Hashes], questions: Sequence[tuple[str, str]]) -> Hashes:
    """The runs that different questions of one benchmark share, in order."""
    shared = _common(found, questions, lambda size: SEVERAL)
    return numpy.unique(numpy.concatenate([*shared.values(), numpy.zeros(0, numpy.uint64)]))


def telling(found: Runs, questions: Sequence[tuple[str, str]], size: int) -> dict[int, Hashes]:
    """The different runs of each item, without those that lie for more than half in its benchmark's template, which
    many of its items share.

    ``questions`` holds each item's benchmark and question: an item that is there several times counts once.
    """
    common = _common(different(found), questions, lambda size: max(LEAST_COMMON, COMMON_SHARE * size))
    kept = []
    for item, all_runs in found:
        runs = all_runs
        shared = numpy.isin(runs, common[questions[item][0]])
        if shared.any():
            covered = numpy.convolve(shared, numpy.ones(size, int)) > 0  # tokens of the template
            inside = numpy.convolve(covered, numpy.ones(size, int), "valid")
            runs = runs[inside <= size // 2]
        kept.append((item, runs))
    return different(kept)


def _common(
    runs: Mapping[int, Hashes], questions: Sequence[tuple[str, str]], least: Callable[[int], float]
) -> dict[str, Hashes]:
    """By benchmark: runs that at least so many of its different items have, as their number says."""
    first = {question: item for item, question in enumerate(questions)}
    common = {}
    for name, size in Counter(benchmark for benchmark, _ in first).items():
        mine = [runs[item] for (benchmark, _), item in first.items() if benchmark == name and item in runs]
        keys, counts = numpy.unique(numpy.concatenate([*mine, numpy.zeros(0, numpy.uint64)]), return_counts=True)
        common[name] = keys[counts >= least(size)]
    return common


def evidence(tokens: Sequence[str], places: Sequence[int], size: int) -> str:
    """The longest stretch that the runs at ``places`` cover."""
    best = (0, 0)
    start = end = -1
    for place in sorted(places):
        if place > end:
            start = place
        end = place + size
        if end - start > best[1] - best[0]:
            best = (start, end)
    return shown(tokens[best[0] : best[1]])


def densest(places: Sequence[int], runs: Hashes, width: int) -> list[int]:
    """Those of ``places`` within the stretch of ``width`` tokens that has most different runs."""
    best: list[int] = []
    most = first = 0
    inside: Counter[int] = Counter()
    for last, place in enumerate(places):
        inside[int(runs[place])] += 1
        while places[first] < place - width:
            left = int(runs[places[first]])
            inside[left] -= 1
            if not inside[left]:
                del inside[left]
            first += 1
        if len(inside) > most:
            most, best = len(inside), list(places[first : last + 1])
    return best
