"""This module is the third stage of a corpus: DeepSeekMath's loop (arXiv 2402.03300, section 2.1).

A round trains a classifier of the seed against pages drawn at random, scores every page, collects the best, and looks
at the domains of which more than a tenth was collected: pages below prefixes that a person answered for join the seed.
The rounds end where nearly all that a round collects was collected before.

Deviations:

1. The paper collects a number of tokens that it found by training models. Here pages are collected that score more like
   the seed than like the rest: more than halfway from the lower quartile of all pages to the mean of pages of the seed
   that the classifier was not trained on. ``share`` collects a share of all characters, the paper's way.
2. Pages below a prefix that a person called "other" are not collected from then on; the paper speaks of no such answer.
3. Pages of the seed, and those that a person called wanted, are never drawn as random ones.
4. The paper's rounds end where 98 % of what one collects was collected before. Here a round that keeps much less than
   the one before does not end them either.
5. What joins the seed after the last round is a part of the corpus, as the rest of the seed is.
6. A page that was drawn as a random one is scored by a classifier of half the pages, which it is not among: one that
   learned that it is none would never collect it. Of billions of pages few were drawn; of thousands, many.
7. What a round collected is learned of as wanted by the next, beside the seed: a seed of one source finds pages of
   another, and these find more. Each such page is scored by a classifier that did not learn of it, and stays only where
   that one collects it. In the paper nothing but a person's answers makes the seed grow.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy

from groupwise.corpus.addresses import domain_of, host_of
from groupwise.corpus.annotations import WANTED, Annotations
from groupwise.corpus.domains import Domains, domain_rows, read_domains, write_domains
from groupwise.corpus.duplicates import save
from groupwise.corpus.scoring import Classifier, held_out
from groupwise.corpus.seeds import Seed
from groupwise.corpus.shards import finish, finished
from groupwise.corpus.unique import Pages, unique_texts

HELD_OUT = "held-out.npy"
LOW = 0.25
"""Share of all pages that are not wanted in any crawl: where the best of these scores, the rest does."""
PLACED = [("place", "int64"), ("score", "float32")]


@dataclass(frozen=True)
class Recall:
    """This value says how much a round collects, and when the rounds end."""

    share: Annotated[float, "[0, 1]"] = 0.0
    """Of all characters of the unique pages, the best first; 0: all that score more like the seed than the rest."""
    iterations: Annotated[int, "[1, inf)"] = 6
    """Rounds at most."""
    until: Annotated[float, "(0, 1]"] = 0.98
    """Share of what a round keeps that the one before kept, and the other way round: then the rounds end."""
    learn: bool = True
    """Whether a round learns of what the one before collected; never where a share is collected."""


@dataclass(frozen=True)
class Scoring:
    """This work scores the pages of one archive by the classifier of a round."""

    directory: Path
    iteration: Path
    classifier: Classifier

    def __call__(self, name: str) -> None:
        """Scores the pages of this archive, unless that was done."""
        path = self.iteration / "scores" / f"{name}.npy"
        if path.exists():
            return
        read = read_of(self.directory, name)
        if read.exists():
            pages = unpacked(self.classifier, read)
        else:
            pages = self.classifier.read(unique_texts(self.directory, name).to_pylist())
            if arrays := self.classifier.packed(pages):
                save(read, arrays)
        save(path, self.classifier.scores(self.iteration / "classifier.bin", pages))


def read_of(directory: Path, name: str) -> Path:
    """Where what the classifier sees of one archive's pages lies, once the first round has scored them."""
    return directory / "iteration-1" / "read" / f"{name}.npz"


def unpacked(classifier: Classifier, path: Path) -> list[Any]:
    """Returns what the classifier saw of pages, of the file that it lies in."""
    with numpy.load(path) as arrays:
        return classifier.unpacked(arrays)


@dataclass(frozen=True)
class Round:
    """A round was made: which pages it keeps, which joined the seed after it, and its numbers."""

    number: int
    scores: numpy.ndarray
    kept: numpy.ndarray
    """Whether each page was collected, or is or becomes a part of the seed, ``[N]``."""
    joined: numpy.ndarray
    """Places of pages that join the seed."""
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Rounds:
    """These are all that a round needs: pages, seed, what a person said, and the settings."""

    directory: Path
    pages: Pages
    seed: Seed
    annotations: Annotations
    classifier: Classifier
    recall: Recall
    domains: Domains

    def path(self, number: int) -> Path:
        """Returns the directory of a round."""
        return self.directory / f"iteration-{number}"

    def first_seed(self) -> numpy.ndarray:
        """Says whether each page is a part of the seed, before the first round: by any address at which it was
        found."""
        holds, names = self.seed.holds, self.pages.names_of
        return numpy.array([any(map(holds, names(place))) for place in range(len(self.pages))], bool)

    def called(self, answer: str) -> numpy.ndarray:
        """Says whether a person called each page wanted, or other."""
        return numpy.array([verdict == answer for verdict in self._verdicts], bool)

    @cached_property
    def _verdicts(self) -> list[str]:
        """Of each page, by its own address, else by those of its copies, the first that is answered."""
        names = map(self.pages.names_of, range(len(self.pages)))
        return [next(filter(None, map(self.annotations.verdict, each)), "") for each in names]

    def asked(self, found: Round) -> numpy.ndarray:
        """Says whether each page lies in a domain that a person is asked about after a round."""
        named = {row["domain"] for row in read_domains(self.path(found.number) / "domains.parquet")}
        return numpy.array([self._is_in(place, named) for place in range(len(self.pages))], bool)

    def _is_in(self, place: int, domains: set[str]) -> bool:
        """Says whether a page was found on one of these domains."""
        if self.pages.domains[place] in domains:
            return True
        copies = self.pages.copies.get(self.pages.addresses[place], ())
        return any(domain_of(host_of(address)) in domains for address in copies)

    def wanted(self, seed: numpy.ndarray, refused: numpy.ndarray, before: Round | None) -> numpy.ndarray:
        """Says of each page whether a round learns of it as wanted: the seed, and what the round before collected."""
        if before is None or not self.recall.learn or self.recall.share:
            return seed
        return seed | (before.kept & ~refused)

    def train(self, number: int, seed: numpy.ndarray, chosen: numpy.ndarray, answered: numpy.ndarray) -> dict[str, Any]:
        """Trains the classifier of a round on the pages that are ``chosen`` as wanted, unless that was done. Pages that
        are ``answered`` wanted are not random."""
        path = self.path(number)
        done = finished(path, "classifier")
        if done and (path / HELD_OUT).exists():
            return done
        places = numpy.flatnonzero(chosen).tolist()
        wanted = len(places) + len(self.seed.texts)
        free = numpy.flatnonzero(~chosen & ~answered).tolist()
        random = drawn(self.pages, free, round(self.classifier.negatives * wanted))
        others = self._read(random)
        seeds = [*self._read(places), *self.classifier.read(self.seed.texts)]
        known, unknown = held_out(self.classifier, seeds, others, path / "half.bin")
        found = [*zip(random, unknown, strict=False), *zip(places, known, strict=False)]
        save(path / HELD_OUT, numpy.array([(place, score) for place, score in found if not seed[place]], PLACED))
        counts: dict[str, Any] = self.classifier.train(seeds, others, path / "classifier.bin")
        known = known if len(known) else self.classifier.scores(path / "classifier.bin", seeds)
        counts["level"] = round(float(known.mean(dtype=numpy.float64)), 6)
        finish(path, "classifier", counts)
        return counts

    def _read(self, places: Sequence[int]) -> list[Any]:
        """Returns what the classifier sees of some pages: of files, where a round has scored them."""
        stored = [read_of(self.directory, name) for name in self.pages.names]
        if not all(path.exists() for path in stored):
            return self.classifier.read(self.pages.texts(places))
        found: dict[int, Any] = {}
        for path, start, end in zip(stored, self.pages.starts, self.pages.starts[1:], strict=False):
            if here := [place for place in places if start <= place < end]:
                pages = unpacked(self.classifier, path)
                found |= {place: pages[place - start] for place in here}
        return [found[place] for place in places]

    def collect(self, number: int, seed: numpy.ndarray, refused: numpy.ndarray, before: Round | None) -> Round:
        """What a round collects of its scores, and who joins the seed; written into its directory."""
        path, pages = self.path(number), self.pages
        names = pages.names
        scores = numpy.concatenate([numpy.load(path / "scores" / f"{name}.npy") for name in names])
        held_out = numpy.load(path / HELD_OUT)
        scores[held_out["place"]] = held_out["score"]
        if self.recall.share:
            collected, least = best(scores, pages.characters, self.recall.share, refused)
        else:
            collected, least = alike(scores, (finished(path, "classifier") or {})["level"], refused)
        rows = domain_rows(pages, collected | seed, self.domains)
        write_domains(path / "domains.parquet", rows)
        named = {row["domain"] for row in rows}
        joined = [
            place
            for place in numpy.flatnonzero(~collected & ~seed).tolist()
            if self._is_in(place, named) and self._verdicts[place] == WANTED
        ]
        kept = collected | seed
        kept[joined] = True
        most = max(int(kept.sum()), int(before.kept.sum())) if before else 0
        again = float((kept & before.kept).sum() / most) if before and most else 0.0
        numbers = {
            "seed": int(seed.sum()) + len(self.seed.texts),
            "collected": int(collected.sum()),
            "kept": int(kept.sum()),
            "characters": int(pages.characters[kept].sum()),
            "least score": round(float(least), 6),
            "kept before": round(again, 6),
            "domains": len(named),
            "joins the seed": len(joined),
        }
        finish(path, "round", numbers)
        return Round(number, scores, kept, numpy.array(joined, numpy.int64), numbers)

    def ends(self, found: Round) -> bool:
        """Says whether this round is the last."""
        return found.numbers["kept before"] >= self.recall.until or found.number >= self.recall.iterations


def best(
    scores: numpy.ndarray, characters: numpy.ndarray, share: float, refused: numpy.ndarray
) -> tuple[numpy.ndarray, float]:
    """Which pages are collected: the best, up to a share of all characters; and the least score among them."""
    order = numpy.lexsort((numpy.arange(len(scores)), -scores))
    order = order[~refused[order]]
    total = numpy.cumsum(characters[order])
    count = int(numpy.searchsorted(total, share * characters.sum(), "right"))
    chosen = numpy.zeros(len(scores), bool)
    chosen[order[:count]] = True
    return chosen, float(scores[order[count - 1]]) if count else 1.0


def alike(scores: numpy.ndarray, level: float, refused: numpy.ndarray) -> tuple[numpy.ndarray, float]:
    """Which pages score more like the seed, whose mean is ``level``, than like the rest; and the least score of these.

    A classifier that puts the seed below the rest has learned nothing by which pages could be told apart: then none.
    """
    low = float(numpy.quantile(scores, LOW))
    if level < low:
        return numpy.zeros(len(scores), bool), 1.0
    least = (level + low) / 2
    return (scores >= least) & ~refused, least


def drawn(pages: Pages, places: Sequence[int], count: int) -> list[int]:
    """So many pages at random, by a hash of the address: of more pages, those of fewer are a part."""

    def key(place: int) -> bytes:
        return hashlib.blake2b(pages.addresses[place].encode(), digest_size=8).digest()

    return sorted(sorted(places, key=key)[:count])


def remove_rounds_from(directory: Path, number: int) -> None:
    """Removes rounds that hold no more."""
    from groupwise.storage.atomic import remove_directory

    while os.path.isdir(path := directory / f"iteration-{number}"):
        remove_directory(path)
        number += 1
