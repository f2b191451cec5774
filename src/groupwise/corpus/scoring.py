"""This module scores pages by a classifier that did not learn of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy


class Classifier(Protocol):
    """What learns of pages that are wanted and pages drawn at random, and scores others. It is its own settings."""

    @property
    def negatives(self) -> float:
        """Is the number of pages drawn at random for each page of the seed."""

    def read(self, texts: Iterable[str]) -> list[Any]:
        """Returns what it sees of each page. That is what it learns of and scores, so that a page is read once."""

    def packed(self, pages: Sequence[Any]) -> dict[str, numpy.ndarray]:
        """Returns pages that it read as arrays for a file; none where to read the texts again is as fast."""

    def unpacked(self, arrays: Mapping[str, numpy.ndarray]) -> list[Any]:
        """Returns the pages of such arrays."""

    def train(self, wanted: Sequence[Any], random: Sequence[Any], path: Path) -> dict[str, int]:
        """Learns of pages that it read, writes the classifier, and returns ``wanted``, ``random`` and ``updates``."""

    def scores(self, path: Path, pages: Sequence[Any]) -> numpy.ndarray:
        """Returns the probability that each page is wanted, ``[N]``."""


def held_out(
    classifier: Classifier, wanted: Sequence[Any], random: Sequence[Any], path: Path
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The score of every page, as it was read, by a classifier that did not see it, ``[W]`` and ``[R]``: each half is
    scored by the other's. Of one wanted page alone there are no halves, and nothing is returned."""
    found = numpy.zeros(len(wanted), numpy.float32), numpy.zeros(len(random), numpy.float32)
    if len(wanted) < 2:
        return found[0][:0], found[1][:0]
    for half in (0, 1):
        classifier.train(wanted[half::2], random[half::2], path)
        for scores, pages in zip(found, (wanted, random), strict=True):
            scores[1 - half :: 2] = classifier.scores(path, pages[1 - half :: 2])
    path.unlink(missing_ok=True)
    return found
