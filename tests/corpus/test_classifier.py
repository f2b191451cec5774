"""A page is scored by a classifier that did not learn of it."""

from __future__ import annotations

from pathlib import Path

import numpy

from groupwise.corpus.classifier import FastText
from groupwise.corpus.scoring import held_out

SMALL = FastText(dimension=8, words=1, least=1, epochs=20, buckets=10, segment=0)
WANTED = [f"the sum of {number} and a term of the equation is solved for the root {number}" for number in range(8)]
OTHER = [f"the king of the land went to war in the year {number} and lost his horse" for number in range(20)]


def test_a_wanted_page_among_the_random_ones_is_still_found(tmp_path: Path) -> None:
    random = [*OTHER[:10], WANTED[0] + " again", *OTHER[10:]]
    path = tmp_path / "classifier.bin"
    known, unknown = held_out(SMALL, SMALL.read(WANTED), SMALL.read(random), path)
    assert known.shape == (8,)
    assert unknown.shape == (21,)
    assert known.min() > 0.6
    assert numpy.flatnonzero(unknown > 0.5).tolist() == [10]
    assert not path.exists()


def test_one_wanted_page_has_no_halves(tmp_path: Path) -> None:
    known, unknown = held_out(SMALL, SMALL.read(WANTED[:1]), SMALL.read(OTHER), tmp_path / "classifier.bin")
    assert len(known) == len(unknown) == 0
