"""This module finds pages that are there twice: by address, by their exact text, nearly, and as a part of another.

Near copies are found by MinHash over runs of words: pages that share a band are compared run by run, so a page is
dropped only where its resemblance to one that is kept was computed, and both are named. Parts: ``containment``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy

from groupwise.corpus.containment import SHORT_RUN, Samples, parts, sampled, short_runs
from groupwise.corpus.grams import HASHES, TOKEN, grams
from groupwise.corpus.plain_text import compatible
from groupwise.corpus.shards import partial_of, read_parts

if TYPE_CHECKING:
    from groupwise.corpus.grams import Hashes

SEED = 1
HALF = 0.5
MOST_OPEN, MOST_KNOWN = 8, 20_000
"""Archives whose texts are at hand, and pages whose runs are."""
PAGES_AT_ONCE = 500
MOST_COMPARED = 16
"""Kept pages of one band that a page is compared with."""


@dataclass(frozen=True)
class MinHash:
    """This value says how near copies are found: two pages that share one of ``bands`` are compared, and the later is
    dropped where they share at least ``similarity`` of their runs of ``words``."""

    bands: Annotated[int, "[1, inf)"] = 20
    rows: Annotated[int, "[1, inf)"] = 6
    words: Annotated[int, "[1, inf)"] = 5
    similarity: Annotated[float, "[0, 1]"] = 0.7
    """1 keeps all but exact copies."""
    inside: Annotated[float, "[0, 1]"] = 0.8
    """A page is dropped, too, where a longer one that is kept has so many of its runs of three words; 1: no such."""

    def shingles(self, text: str) -> Hashes:
        """The different runs of words of a text, in order of their numbers."""
        tokens = HASHES.of(TOKEN.findall(compatible(text)))
        return numpy.unique(grams(tokens, min(self.words, max(len(tokens), 1))))

    def signatures(self, texts: Sequence[str]) -> Hashes:
        """A number for each band of each text, ``[N, bands]``."""
        return self.bands_of([self.shingles(text) for text in texts])

    def bands_of(self, shingles: Sequence[Hashes]) -> Hashes:
        """A number for each band of each text, by its runs, ``[N, bands]``."""
        from rensa import RMinHash

        runs = [each.tolist() or [0] for each in shingles]
        matrix = RMinHash.digest_matrix_from_token_hash_sets(runs, self.bands * self.rows, SEED)
        values = numpy.asarray(matrix.to_rows(), numpy.uint64)
        banded = values.reshape(len(runs), self.bands, self.rows)
        found = numpy.zeros((len(runs), self.bands), numpy.uint64)
        for row in range(self.rows):
            found = (found ^ banded[:, :, row]) * numpy.uint64(0x9E3779B97F4A7C15)
            found ^= found >> numpy.uint64(29)
        return found


def text_number(text: str) -> int:
    """A number of a text, the same where only white space differs."""
    return int.from_bytes(hashlib.blake2b(" ".join(text.split()).encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Signing:
    """This work computes the numbers by which one task's pages are compared: ``unique/NAME.npy``, and their sampled
    runs: ``unique/NAME-samples.npy``."""

    directory: Path
    minhash: MinHash

    def __call__(self, name: str) -> None:
        """Signs the pages of one archive."""
        path = self.directory / "unique" / f"{name}.npy"
        if path.exists():
            return
        texts = read_parts(self.directory / "pages", name, ["text"])["text"].to_pylist()
        signed, samples = [], []
        for start in range(0, len(texts), PAGES_AT_ONCE):
            rows, some = sign(self.minhash, texts[start : start + PAGES_AT_ONCE])
            signed.append(rows)
            samples.append(some + numpy.array([start, 0], numpy.uint64))
        save(samples_of(path), numpy.concatenate([*samples, numpy.zeros((0, 2), numpy.uint64)]))
        save(path, numpy.concatenate([*signed, numpy.zeros((0, 2 + self.minhash.bands), numpy.uint64)]))


def sign(minhash: MinHash, texts: Sequence[str]) -> tuple[Hashes, Hashes]:
    """The numbers of texts, ``[N, 2 + bands]``: of the whole text, how many runs it has, and of each band; and their
    sampled runs, ``[M, 2]``: text and run."""
    shingles = [minhash.shingles(text) for text in texts]
    exact = numpy.array([text_number(text) for text in texts], numpy.uint64)
    lengths = numpy.array([len(each) for each in shingles], numpy.uint64)
    some = [sampled(each) for each in shingles]
    pages = numpy.repeat(numpy.arange(len(texts), dtype=numpy.uint64), [len(each) for each in some])
    runs = numpy.concatenate([*some, numpy.zeros(0, numpy.uint64)])
    return numpy.column_stack([exact, lengths, minhash.bands_of(shingles)]), numpy.column_stack([pages, runs])


def samples_of(path: Path) -> Path:
    """Where the sampled runs lie beside an archive's numbers."""
    return path.with_name(f"{path.stem}-samples.npy")


def save(path: Path, values: numpy.ndarray | Mapping[str, numpy.ndarray]) -> None:
    """Writes numbers, or several by their names, into a file that takes its name when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    with partial.open("wb") as file:
        if isinstance(values, Mapping):
            numpy.savez(file, **values)  # type: ignore[arg-type]  # a name could be an option of its own
        else:
            numpy.save(file, values)
    os.replace(partial, path)


@dataclass(frozen=True)
class Copy:
    """A page is a copy of one that is kept: why, and which."""

    reason: str
    of: int
    evidence: str
    whole: bool = True
    """Whether it is that page: not where it is less than half of it."""


class Comparison:
    """This comparison goes through pages in order and keeps those that are no copy of a kept one; then it drops those
    that are a part of a longer one."""

    def __init__(
        self, minhash: MinHash, addresses: Sequence[str], signed: numpy.ndarray, samples: Samples, texts: Texts
    ) -> None:
        self.minhash, self.addresses, self.samples, self.texts = minhash, addresses, samples, texts
        self.exact, self.lengths, self.shared = signed[:, 0], signed[:, 1].astype(numpy.int64), _shared(signed[:, 2:])

    def copies(self) -> list[Copy | None]:
        """For each page: what it is a copy of, or None where it is kept."""
        found = list(self._copies())
        if max(self.minhash.similarity, self.minhash.inside) >= 1:
            return found
        kept = [page for page, copy in enumerate(found) if copy is None]
        into: dict[int, Copy] = {}
        for part in parts(kept, self.lengths, self.samples, self.texts, self.minhash.inside):
            evidence = f"{part.share:.3f} of its runs of {SHORT_RUN} words, {part.whole:.3f} of the other's"
            reason = "near copy" if part.whole >= HALF else "part of another"
            into[part.page] = Copy(reason, part.of, evidence, part.whole >= HALF)
        return [into.get(page, _moved(copy, into)) for page, copy in enumerate(found)]

    def _copies(self) -> Iterator[Copy | None]:
        by_address: dict[str, int] = {}
        first: dict[int, int] = {}  # of a page that is dropped: the kept one that it is a copy of
        by_text: dict[int, int] = {}
        by_band: dict[tuple[int, int], list[int]] = {}
        for page, address in enumerate(self.addresses):
            exact = int(self.exact[page])
            if address in by_address:
                of = by_address[address]
                yield Copy("address", first.get(of, of), address)
            elif exact in by_text:
                first[page] = by_text[exact]
                yield Copy("exact copy", by_text[exact], "")
            else:
                near = self._near(page, by_band)
                if near is None:
                    by_text[exact] = page
                    for band in self.shared.get(page, ()):
                        kept = by_band.setdefault(band, [])
                        if len(kept) < MOST_COMPARED:
                            kept.append(page)
                else:
                    first[page] = near.of
                yield near
            by_address.setdefault(address, page)

    def _near(self, page: int, by_band: dict[tuple[int, int], list[int]]) -> Copy | None:
        candidates = {other for band in self.shared.get(page, ()) for other in by_band.get(band, ())}
        if not candidates or self.minhash.similarity >= 1:
            return None
        mine = self.texts.shingles(page)
        best = max((_resemblance(mine, self.texts.shingles(other)), -other) for other in sorted(candidates))
        if best[0] < self.minhash.similarity:
            return None
        return Copy("near copy", -best[1], f"{best[0]:.3f} of the runs of {self.minhash.words} words")


def _moved(copy: Copy | None, into: Mapping[int, Copy]) -> Copy | None:
    """A copy of a page that was found to be a part is one of the page that is kept."""
    if copy is None or copy.of not in into:
        return copy
    part = into[copy.of]
    return Copy(copy.reason, part.of, copy.evidence, copy.whole and part.whole)


class Texts:
    """These are the texts of all pages, read where they are compared; some are remembered."""

    def __init__(self, directory: Path, names: Sequence[str], sizes: Sequence[int], minhash: MinHash) -> None:
        self.directory, self.names, self.minhash = directory, names, minhash
        self.starts = numpy.concatenate([[0], numpy.cumsum(sizes)])
        self._open: dict[str, Any] = {}
        self._known: dict[int, Hashes] = {}
        self._short: dict[int, tuple[Hashes, Hashes]] = {}

    def shingles(self, page: int) -> Hashes:
        """The runs of words of a page, by its number among all."""
        if page not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[page] = self.minhash.shingles(self._text(page))
        return self._known[page]

    def short_runs(self, page: int) -> tuple[Hashes, Hashes]:
        """Its runs of few words: all, and those within lines and sentences."""
        if page not in self._short:
            if len(self._short) >= MOST_KNOWN:
                self._short.clear()
            self._short[page] = short_runs(self._text(page))
        return self._short[page]

    def _text(self, page: int) -> str:
        shard = int(numpy.searchsorted(self.starts, page, "right")) - 1
        return str(self._column(self.names[shard])[page - self.starts[shard]].as_py())

    def _column(self, name: str) -> Any:
        if name not in self._open:
            if len(self._open) >= MOST_OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[name] = read_parts(self.directory / "pages", name, ["text"])["text"]
        return self._open[name]


def _resemblance(one: Hashes, other: Hashes) -> float:
    both = len(numpy.intersect1d(one, other, assume_unique=True))
    return both / max(len(one) + len(other) - both, 1)


def _shared(bands: numpy.ndarray) -> dict[int, list[tuple[int, int]]]:
    """By page: those of its bands that another page has as well. Most have none."""
    found: dict[int, list[tuple[int, int]]] = {}
    for band in range(bands.shape[1]):
        _, places, counts = numpy.unique(bands[:, band], return_inverse=True, return_counts=True)
        for page in numpy.flatnonzero(counts[places] > 1).tolist():
            found.setdefault(page, []).append((band, int(bands[page, band])))
    return found
