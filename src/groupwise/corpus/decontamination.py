"""This module finds benchmark questions in text, by the n-gram rule of DeepSeekMath (arXiv 2402.03300, section 2.1).

Three rules, each of which says what it found and where:

1. *grams*: a run of 10 tokens that the text shares with a benchmark's question (or solution, where that is asked).
2. *whole item*: a question of 3 to 9 tokens, found whole. Shorter ones are not looked for.
3. *numbers changed*: at least half of a question's 10-grams are in the text once all numbers count as equal, and the
   question has a number. The paper has no such rule.

Deviations: the paper does not say what a token is; here it is ``grams``'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

import numpy

from groupwise.corpus.benchmarks import Item, read_benchmarks
from groupwise.corpus.grams import HASHES, NUMBER, grams, joined, numbers_as_one, plain, separated, shown

if TYPE_CHECKING:
    from groupwise.corpus.grams import Hashes

Rule = Literal["grams", "whole item", "numbers changed"]
VIEWS: tuple[Callable[[str], list[str]], ...] = (separated, joined)


@dataclass(frozen=True)
class NGrams:
    """This value says against which benchmarks text is looked through, and by which lengths."""

    against: tuple[str, ...] = ()
    """Names, files, or ``NAME=FILE`` (``benchmarks.read_benchmarks``)."""
    size: Annotated[int, "[2, inf)"] = 10
    """Tokens of a run that convicts."""
    shortest: Annotated[int, "[1, inf)"] = 3
    """Tokens of the shortest question that is looked for whole."""
    changed: Annotated[float, "[0, 1]"] = 0.5
    """Share of a question's runs that convicts where numbers may differ; 0: that rule is off."""
    benchmarks: str = ""
    """A folder that holds ``NAME/test.jsonl``."""
    solutions: bool = False
    """Whether a run of a solution convicts too: then phrases that all solutions share do ("and multiply by 100 to")."""

    def index(self) -> Index:
        """Reads the benchmarks. Raises UserError for one that cannot be read."""
        return Index(self, tuple(read_benchmarks(self.against, self.benchmarks or None)))


@dataclass(frozen=True)
class Hit:
    """A hit is one item of a benchmark that a text holds, with the evidence."""

    item: Item
    rule: Rule
    grams: int
    """How many of its runs were found."""
    text: str
    """The longest run of tokens that both have."""


@dataclass(frozen=True)
class Table:
    """Numbers of runs, in order, and the item of each: one run may belong to several items."""

    keys: Hashes
    items: numpy.ndarray

    @classmethod
    def of(cls, found: Sequence[tuple[int, Hashes]]) -> Table:
        """Sorts the runs of ``(item, runs)``, each once for an item, however often that is given."""
        mine: dict[int, list[Hashes]] = {}
        for item, runs in found:
            mine.setdefault(item, []).append(runs)
        unique = [(item, numpy.unique(numpy.concatenate(runs))) for item, runs in mine.items()]
        keys = numpy.concatenate([runs for _, runs in unique] or [numpy.zeros(0, numpy.uint64)])
        items = numpy.repeat([item for item, _ in unique], [len(runs) for _, runs in unique]).astype(numpy.int64)
        order = numpy.argsort(keys, kind="stable")
        return cls(keys[order], items[order])

    def places(self, runs: Hashes) -> numpy.ndarray:
        """Indices into ``runs`` of those that are here."""
        if not len(self.keys) or not len(runs):
            return numpy.zeros(0, numpy.int64)
        found = numpy.searchsorted(self.keys, runs)
        found[found == len(self.keys)] = 0
        return numpy.flatnonzero(self.keys[found] == runs)

    def items_of(self, run: numpy.uint64) -> numpy.ndarray:
        """Returns the items that have this run."""
        first, last = numpy.searchsorted(self.keys, run, "left"), numpy.searchsorted(self.keys, run, "right")
        return self.items[first:last]


@dataclass(frozen=True)
class Index:
    """An index holds the runs of all items of the benchmarks."""

    rule: NGrams
    items: tuple[Item, ...]

    @cached_property
    def _long(self) -> Table:
        found = []
        for number, item in enumerate(self.items):
            for text in (item.question, *(item.solutions if self.rule.solutions else ())):
                bare = plain(text)
                found += [(number, grams(HASHES.of(view(bare)), self.rule.size)) for view in VIEWS]
        return Table.of(found)

    @cached_property
    def _short(self) -> dict[int, Table]:
        """By length: questions that are shorter than a run."""
        found: dict[int, list[tuple[int, Hashes]]] = {}
        for number, item in enumerate(self.items):
            bare = plain(item.question)
            for tokens in (view(bare) for view in VIEWS):
                if self.rule.shortest <= len(tokens) < self.rule.size:
                    found.setdefault(len(tokens), []).append((number, grams(HASHES.of(tokens), len(tokens))))
        return {length: Table.of(found[length]) for length in sorted(found)}

    @cached_property
    def _masked(self) -> tuple[Table, dict[int, int]]:
        """Of questions with numbers in them: their runs without, and how many each has."""
        found = []
        for number, item in enumerate(self.items):
            bare = plain(item.question)
            if NUMBER.search(bare):
                found.append((number, grams(HASHES.of(numbers_as_one(bare)), self.rule.size)))
        return Table.of(found), {number: len(numpy.unique(runs)) for number, runs in found}

    @cached_property
    def too_short(self) -> int:
        """Counts the items that are too short to be looked for."""
        return sum(len(separated(plain(item.question))) < self.rule.shortest for item in self.items)

    def hits(self, text: str) -> list[Hit]:
        """All items that a text holds, by the first rule that convicts, those with most evidence first."""
        bare = plain(text)
        found: dict[int, Hit] = {}
        for view in VIEWS:
            tokens = view(bare)
            hashes = HASHES.of(tokens)
            for hit in self._exact(tokens, hashes):
                before = found.get(id(hit.item))
                if before is None or before.grams < hit.grams:
                    found[id(hit.item)] = hit
        if self.rule.changed:
            for hit in self._numbers_changed(bare):
                found.setdefault(id(hit.item), hit)
        return sorted(found.values(), key=lambda hit: (-hit.grams, hit.item.benchmark, hit.item.number))

    def _exact(self, tokens: Sequence[str], hashes: Hashes) -> Iterator[Hit]:
        for number, places in _by_item(self._long, grams(hashes, self.rule.size)).items():
            yield Hit(self.items[number], "grams", len(places), _evidence(tokens, places, self.rule.size))
        for length, table in self._short.items():
            for number, places in _by_item(table, grams(hashes, length)).items():
                yield Hit(self.items[number], "whole item", 1, _evidence(tokens, places, length))

    def _numbers_changed(self, bare: str) -> Iterator[Hit]:
        tokens = numbers_as_one(bare)
        runs = grams(HASHES.of(tokens), self.rule.size)
        table, sizes = self._masked
        for number, places in _by_item(table, runs).items():
            found = len(numpy.unique(runs[places]))
            if found >= self.rule.changed * sizes[number]:
                yield Hit(self.items[number], "numbers changed", found, _evidence(tokens, places, self.rule.size))


def _by_item(table: Table, runs: Hashes) -> dict[int, list[int]]:
    """Where each item's runs lie."""
    found: dict[int, list[int]] = {}
    for place in table.places(runs).tolist():
        for item in table.items_of(runs[place]).tolist():
            found.setdefault(item, []).append(place)
    return found


def _evidence(tokens: Sequence[str], places: Sequence[int], size: int) -> str:
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
