"""This module learns which pages are wanted from few of them: logistic regression on the words of a page.

A page is its different words, commands of LaTeX and signs, each weighted by how rare it is and, less, by how often it
occurs, and the page's length is one. What is in most pages counts for nothing. The weights are kept small, so that a
few pages of one book teach its subject rather than its style: with a seed of 20 pages of one source, pages of other
sources are told apart far better than by fastText, which has a vector for every word and nothing that keeps it small.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy

from groupwise.corpus.duplicates import save
from groupwise.corpus.formula_text import without_formulas
from groupwise.corpus.grams import HASHES, UNSPACED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[numpy.float64]
    Read = tuple[NDArray[numpy.int64], Vector]

TERM = re.compile(rf"\\[a-z]+|[{UNSPACED}]|[^\W\d_{UNSPACED}]+|[=+\-^*/<>|$%]")
REMEMBERED = 10
"""Steps by which L-BFGS knows the curvature."""
MOST_STEPS = 200
FLAT = 1e-4
"""Length of the gradient, relative to the first, at which learning ends."""
ROUNDING = 1e-12
"""Gradients so short, and curvatures so small beside what they are made of, are nothing but rounding."""


@dataclass(frozen=True)
class Terms:
    """These are the terms of several pages: where each page's begin, which they are, and how often, dampened."""

    starts: NDArray[numpy.int64]
    terms: NDArray[numpy.int64]
    values: Vector

    @classmethod
    def of(cls, pages: Sequence[Read]) -> Terms:
        """The terms of pages that were read, one after the other."""
        starts = numpy.cumsum([0, *(len(terms) for terms, _ in pages)])
        terms = numpy.concatenate([*(terms for terms, _ in pages), numpy.zeros(0, numpy.int64)])
        return cls(starts, terms, numpy.concatenate([*(values for _, values in pages), numpy.zeros(0)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def weighted(self, rarity: Vector) -> Terms:
        """The same with rare terms weighted up, and each page of length one."""
        values = self.values * rarity[self.terms]
        lengths = numpy.sqrt(self._sums(values * values))
        lengths[lengths == 0] = 1.0
        return Terms(self.starts, self.terms, values / numpy.repeat(lengths, numpy.diff(self.starts)))

    def times(self, weights: Vector) -> Vector:
        """The sum of each page's terms times their weights, ``[N]``."""
        return self._sums(self.values * weights[self.terms])

    def gathered(self, pages: Vector, size: int) -> Vector:
        """The sum over pages of their terms times a number of each page, ``[size]``."""
        values = self.values * numpy.repeat(pages, numpy.diff(self.starts))
        return numpy.bincount(self.terms, values, size).astype(numpy.float64, copy=False)

    def narrowed(self) -> tuple[Terms, NDArray[numpy.int64]]:
        """The same without terms whose value is nothing, those that are left numbered through; and which these are."""
        left = self.values != 0
        counts = numpy.concatenate([[0], numpy.cumsum(left)])
        names, terms = numpy.unique(self.terms[left], return_inverse=True)
        return Terms(counts[self.starts], terms, self.values[left]), names

    def _sums(self, values: Vector) -> Vector:
        totals = numpy.concatenate([[0.0], numpy.cumsum(values)])
        return totals[self.starts[1:]] - totals[self.starts[:-1]]


@dataclass(frozen=True)
class Linear:
    """This value is the classifier's settings."""

    features: Annotated[int, "[1, inf)"] = 1 << 18
    """Different terms; those beyond share a place by chance."""
    penalty: Annotated[float, "(0, inf)"] = 1.0
    """How small weights are kept."""
    least: Annotated[int, "[1, inf)"] = 2
    """Pages that a term is in, of those that are learned of, at least."""
    common: Annotated[float, "(0, 1]"] = 0.5
    """Share of these pages beyond which a term says nothing."""
    letters: Annotated[int, "[1, inf)"] = 20_000
    """Of a page that are read."""
    negatives: Annotated[float, "(0, inf)"] = 3.0
    """Pages drawn at random for each page of the seed."""
    formulas: bool = True
    """Whether it sees LaTeX. Without, it learns of the words around formulas, as OpenWebMath's does."""

    def read(self, texts: Iterable[str]) -> list[Read]:
        """Returns the different terms of each page, and how often it has them, dampened."""
        pages = []
        for text in texts:
            seen = text[: self.letters]
            counts = Counter(TERM.findall((seen if self.formulas else without_formulas(seen)).lower()))
            terms = (HASHES.of(list(counts)) % numpy.uint64(self.features)).astype(numpy.int64)
            pages.append((terms, 1.0 + numpy.log(numpy.fromiter(counts.values(), float, len(counts)))))
        return pages

    def packed(self, pages: Sequence[Read]) -> dict[str, NDArray[Any]]:
        """Returns pages that were read as arrays for a file."""
        return vars(Terms.of(pages))

    def unpacked(self, arrays: Mapping[str, NDArray[Any]]) -> list[Read]:
        """Returns the pages of such arrays."""
        starts, terms, values = (arrays[name] for name in ("starts", "terms", "values"))
        places = list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))
        return [(terms[start:end], values[start:end]) for start, end in places]

    def train(self, wanted: Sequence[Read], random: Sequence[Read], path: Path) -> dict[str, int]:
        """Learns of two lots of pages that were read, writes the classifier, and returns how much was learned of."""
        pages = Terms.of([*wanted, *random])
        rarity = self._rarity(pages)
        truth = numpy.arange(len(pages)) < len(wanted)
        narrow, names = pages.weighted(rarity).narrowed()
        fit, steps = fitted(narrow, truth, len(names), self.penalty)
        weights = numpy.zeros(self.features + 1)
        weights[[*names, self.features]] = fit
        save(path, numpy.stack([numpy.append(rarity, 0.0), weights]).astype(numpy.float32))
        return {"wanted": len(wanted), "random": len(random), "updates": steps}

    def _rarity(self, pages: Terms) -> Vector:
        counts = numpy.bincount(pages.terms, minlength=self.features)
        rarity = 1.0 + numpy.log((1.0 + len(pages)) / (1.0 + counts))
        rarity[(counts < self.least) | (counts > max(self.common * len(pages), self.least))] = 0.0
        return rarity

    def scores(self, path: Path, pages: Sequence[Read]) -> NDArray[numpy.float32]:
        """The probability that each page that was read is wanted, ``[N]``, by a classifier that was written."""
        rarity, weights = numpy.load(path).astype(float)
        found = Terms.of(pages).weighted(rarity[:-1]).times(weights[:-1]) + weights[-1]
        return probability(found).astype(numpy.float32)


def dot(one: Vector, other: Vector) -> float:
    """The product of two vectors. BLAS would take every processor for it, and sum in another order on each machine."""
    return float((one * other).sum())


def length(vector: Vector) -> float:
    """The Euclidean length of a vector."""
    return math.sqrt(dot(vector, vector))


def probability(sums: Vector) -> Vector:
    """The logistic function, without overflow."""
    return 0.5 * (1.0 + numpy.tanh(0.5 * sums))


def fitted(pages: Terms, truth: NDArray[numpy.bool_], size: int, penalty: float) -> tuple[Vector, int]:
    """Weights of terms and, last, the bias, ``[size + 1]``, and the steps that were made.

    Both kinds of page count the same together, whatever their number; the bias is not kept small.
    """
    ours = numpy.where(truth, 0.5 / max(truth.sum(), 1), 0.5 / max((~truth).sum(), 1)) * len(truth)
    signs = numpy.where(truth, 1.0, -1.0)

    def loss(weights: Vector) -> tuple[float, Vector]:
        margins = signs * (pages.times(weights[:-1]) + weights[-1])
        slopes = -ours * signs * probability(-margins)
        value = dot(ours, numpy.logaddexp(0.0, -margins)) + 0.5 * penalty * dot(weights[:-1], weights[:-1])
        gradient = numpy.append(pages.gathered(slopes, size) + penalty * weights[:-1], slopes.sum())
        return value, gradient

    return lowest(loss, numpy.zeros(size + 1))


def lowest(loss: Callable[[Vector], tuple[float, Vector]], start: Vector) -> tuple[Vector, int]:
    """Where a smooth convex function is lowest, by L-BFGS (Liu and Nocedal, 1989), and the steps that were made."""
    point, (value, gradient) = start, loss(start)
    flat = max(FLAT * length(gradient), ROUNDING)
    past: list[tuple[Vector, Vector]] = []
    for step in range(MOST_STEPS):
        if length(gradient) <= flat:
            return point, step
        way = _direction(gradient, past)
        slope, size = dot(way, gradient), 1.0 if past else 1.0 / max(length(gradient), 1.0)
        while True:
            new = point + size * way
            new_value, new_gradient = loss(new)
            if new_value <= value + 1e-4 * size * slope:
                break
            size *= 0.5
            if size < 1e-10:
                return point, step  # no way leads down: rounding is all that is left
        moved, turned = new - point, new_gradient - gradient
        if dot(moved, turned) > ROUNDING * length(moved) * length(turned):
            past = [*past, (moved, turned)][-REMEMBERED:]
        point, value, gradient = new, new_value, new_gradient
    return point, MOST_STEPS


def _direction(gradient: Vector, past: Sequence[tuple[Vector, Vector]]) -> Vector:
    way, shares = -gradient, []
    for moved, turned in reversed(past):
        share = dot(moved, way) / dot(moved, turned)
        shares.append(share)
        way = way - share * turned
    if past:
        moved, turned = past[-1]
        way = way * (dot(moved, turned) / dot(turned, turned))
    for (moved, turned), share in zip(past, reversed(shares), strict=True):
        way = way + (share - dot(turned, way) / dot(moved, turned)) * moved
    return way
