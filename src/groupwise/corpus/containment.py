"""This module finds pages that are a part of a longer one: cut short, put into another order, or quoted nearly whole.

Their resemblance to the longer page is small, and MinHash does not see them. Candidates share runs of words of a
sample: every sixteenth run by its number, the same in each page (Broder, 1997). Each is then compared run by run with
the page that is kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy

from groupwise.corpus.grams import HASHES, TOKEN, grams
from groupwise.corpus.plain_text import compatible

if TYPE_CHECKING:
    from groupwise.corpus.grams import Hashes

EVERY = numpy.uint64(16)
"""One run of so many is in the sample."""
MOST_HAVING = 16
"""Pages that have a run in common beyond which it is taken for boilerplate."""
LEAST_SHARED, LEAST_SHARE = 2, 0.2
"""Sampled runs that a page shares with a candidate: so many, and so much of its own."""
SHORT_RUN = 3
"""Words of a run by which pages are compared: other words here and there change few of them."""
TOKEN_OR_END = re.compile(rf"({TOKEN.pattern})|\n|[.!?]\s|[\u3002\uff01\uff1f]")
"""A token, or the end of a line or a sentence."""
MUCH_LONGER = 1.1
"""Of two pages whose lengths differ less, the first is kept."""
LEAST_WITHIN = 0.25
"""Share of a page's runs that lie within a line and a sentence, so that they stand for the page."""
LEAST_RUNS = 100
"""Of a page: fewer are a form that is filled in, rather than a part of another page."""


def sampled(shingles: Hashes) -> Hashes:
    """Those runs of a page that are in the sample."""
    return shingles[shingles % EVERY == 0]


class ShortRuns(Protocol):
    """What knows the runs of three words of a page, by its number."""

    def short_runs(self, page: int) -> tuple[Hashes, Hashes]:
        """All different runs, and those that lie within a line and a sentence: in another order these are the same."""


def short_runs(text: str) -> tuple[Hashes, Hashes]:
    """All different runs of three words of a text, and those that lie within a line and a sentence. Of a text with a
    word or two on most lines, such as a table, these are a few that say nothing of it, and all are taken."""
    found = TOKEN_OR_END.findall(compatible(text))
    tokens = numpy.array([bool(each) for each in found], bool)
    sentence = numpy.cumsum(~tokens)[tokens]
    runs = grams(HASHES.of([each for each in found if each]), SHORT_RUN)
    every = numpy.unique(runs)
    within = numpy.unique(runs[sentence[: len(runs)] == sentence[len(sentence) - len(runs) :]])
    return every, within if len(within) >= LEAST_WITHIN * len(every) else every


@dataclass(frozen=True)
class Part:
    """A page is a part of another one that is kept: of which, how much of it is there, how much of the other it is."""

    page: int
    of: int
    share: float
    whole: float


@dataclass(frozen=True)
class Samples:
    """These are the sampled runs of all pages, in two columns."""

    pages: numpy.ndarray
    runs: Hashes

    def telling(self, kept: Sequence[int]) -> tuple[dict[int, list[int]], Counter[int]]:
        """Of each kept page: its runs that other kept pages have as well, and how many it has without boilerplate."""
        here = numpy.isin(self.pages, numpy.asarray(kept, numpy.int64))
        pages, runs = self.pages[here], self.runs[here]
        _, places, counts = numpy.unique(runs, return_inverse=True, return_counts=True)
        many = counts[places]
        sizes = Counter(pages[many <= MOST_HAVING].tolist())
        found: dict[int, list[int]] = {}
        for place in numpy.flatnonzero((many > 1) & (many <= MOST_HAVING)).tolist():
            found.setdefault(int(pages[place]), []).append(int(runs[place]))
        return found, sizes


def parts(
    kept: Sequence[int], lengths: numpy.ndarray, samples: Samples, texts: ShortRuns, least: float
) -> Iterator[Part]:
    """Pages of which at least ``least`` of the short runs are in one longer page that stays, the longest page first.

    ``lengths`` holds the number of runs of every page.
    """
    shared, sizes = samples.telling(kept)
    about = numpy.rint(numpy.log(numpy.maximum(lengths, 1)) / numpy.log(MUCH_LONGER))
    having: dict[int, list[int]] = {}
    for page in sorted(shared, key=lambda page: (-about[page], page)):
        common = Counter(other for run in shared[page] for other in having.get(run, ()))
        near = [other for other, count in common.items() if count >= max(LEAST_SHARED, LEAST_SHARE * sizes[page])]
        part = _best(page, near, texts, least) if lengths[page] >= LEAST_RUNS else None
        if part is not None:
            yield part
            continue
        for run in shared[page]:
            having.setdefault(run, []).append(page)


def _best(page: int, others: Sequence[int], texts: ShortRuns, least: float) -> Part | None:
    best: Part | None = None
    _, mine = texts.short_runs(page) if others else ((), ())
    for other in sorted(others):
        its, _ = texts.short_runs(other)
        both = len(numpy.intersect1d(mine, its, assume_unique=True))
        if both >= least * len(mine) and (best is None or both > best.share * len(mine)):
            best = Part(page, other, both / len(mine), both / max(len(its), 1))
    return best
