"""This module learns which pages are wanted: fastText, from pages of the seed and pages drawn at random."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from groupwise.corpus.formula_text import without_formulas
from groupwise.corpus.shards import partial_of
from groupwise.errors import UserError
from groupwise.storage.atomic import PARTIAL, require_space

if TYPE_CHECKING:
    import numpy

WANTED, RANDOM = "__label__wanted", "__label__random"
MOST_HALVINGS = 6
MOST_EPOCHS = 20
M_PERTURB = -6
BLANK = re.compile(r"\s+")


@dataclass(frozen=True)
class FastText:
    """This value is the classifier's settings. The paper's are dimension 256, rate 0.1, runs of 3 words, each word 3
    times at least, 3 epochs, for 1,000,000 pages; on some hundred pages those learn next to nothing."""

    dimension: Annotated[int, "[1, inf)"] = 64
    rate: Annotated[float, "(0, inf)"] = 0.5
    words: Annotated[int, "[1, inf)"] = 2
    """Longest run of words that is a feature."""
    least: Annotated[int, "[1, inf)"] = 3
    """Times that a word occurs at least to be one."""
    epochs: Annotated[int, "[1, inf)"] = 3
    updates: Annotated[int, "[0, inf)"] = 10_000
    """Pieces that are learned, each as often as there are epochs, at least: of few pages there are more epochs, 20 at
    most."""
    buckets: Annotated[int, "[1, inf)"] = 200_000
    """For runs of words. fastText's own 2,000,000 take 2 GB at dimension 256."""
    segment: Annotated[int, "[0, inf)"] = 150
    """Words of a piece that is learned as one text; 0: pages are learned whole."""
    negatives: Annotated[float, "(0, inf)"] = 3.0
    """Pages drawn at random for each page of the seed."""
    threads: Annotated[int, "[1, inf)"] = 1
    """More are faster, and no two runs are the same."""
    formulas: bool = True
    """Whether it sees LaTeX. Without, it learns of the words around formulas, as OpenWebMath's does."""

    def read(self, texts: Iterable[str]) -> list[str]:
        """Returns each page as it sees it: one line, lower case."""
        seen = (text if self.formulas else without_formulas(text) for text in texts)
        return [BLANK.sub(" ", text).strip().lower() for text in seen]

    def packed(self, pages: Sequence[str]) -> dict[str, numpy.ndarray]:
        """Returns nothing: a page as it sees it is its text."""
        return {}

    def unpacked(self, arrays: Mapping[str, numpy.ndarray]) -> list[str]:
        """Returns nothing, for nothing was packed."""
        return []

    def segments(self, line: str) -> list[str]:
        """The pieces of a page that are learned."""
        words = line.split(" ")
        size = self.segment or len(words)
        return [" ".join(words[start : start + size]) for start in range(0, len(words), size)]

    def train(self, wanted: Sequence[str], random: Sequence[str], path: Path) -> dict[str, int]:
        """Learns of two lots of pages that were read, writes the classifier, and returns how much was learned of."""
        require_space(
            path.parent, 4 * self.dimension * self.buckets, "the classifier"
        )  # fastText would cut it in silence
        partial = partial_of(path)
        counts = {"wanted": 0, "random": 0}
        with tempfile.NamedTemporaryFile("w", prefix=PARTIAL, suffix=".txt", dir=path.parent, encoding="utf-8") as file:
            lines = []
            for label, name, pages in ((WANTED, "wanted", wanted), (RANDOM, "random", random)):
                for page in pages:
                    counts[name] += 1
                    lines += [f"{label} {piece}\n" for piece in self.segments(page) if piece]
            epochs = self.epochs_for(len(lines))
            counts["updates"] = epochs * len(lines)
            file.writelines(shuffled(lines))
            file.flush()
            model = self._trained(file.name, epochs)
        model.save_model(str(partial))
        os.replace(partial, path)
        return counts

    def epochs_for(self, pieces: int) -> int:
        """Epochs for so many pieces."""
        return max(self.epochs, min(-(-self.updates // max(pieces, 1)), MOST_EPOCHS))

    def _trained(self, file: str, epochs: int) -> Any:
        """Raises UserError where nothing can be learned. Numbers that overflow are tried again at half the rate."""
        import fasttext

        options = {"dim": self.dimension, "wordNgrams": self.words, "epoch": epochs, "bucket": self.buckets}
        for halvings in range(MOST_HALVINGS):
            try:
                with zeroed_memory():
                    return fasttext.train_supervised(
                        input=file, lr=self.rate / 2**halvings, minCount=self.least, thread=self.threads, verbose=0,
                        minn=0, maxn=0, **options,
                    )  # fmt: skip
            except RuntimeError as error:
                if "NaN" not in str(error):
                    raise
            except ValueError as error:
                raise UserError(f"the classifier could not learn: {error}; expected a larger seed") from None
        raise UserError(f"--classifier.rate {self.rate}: the numbers overflow; expected a smaller one")

    def scores(self, path: Path, pages: Sequence[str]) -> numpy.ndarray:
        """The probability that each page that was read is wanted, ``[N]``, by a classifier that was written."""
        import numpy

        model = _load(str(path))
        found = numpy.zeros(len(pages), numpy.float32)
        for place, line in enumerate(pages):
            labels, chances = model.predict([line], k=2)
            found[place] = next((p for name, p in zip(labels[0], chances[0], strict=True) if name == WANTED), 0.0)
        return found


@contextmanager
def zeroed_memory() -> Iterator[None]:
    """Has glibc hand out memory that is zero. On one thread, fastText draws the first tenth of its numbers and takes
    the rest as memory happens to be: then no two classifiers are the same, and some overflow."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(M_PERTURB, 0xFF)  # memory is filled with the complement
    try:
        yield
    finally:
        mallopt(M_PERTURB, 0)


def shuffled(lines: list[str]) -> list[str]:
    """The lines in an order that depends on nothing but them."""
    import random

    order = list(range(len(lines)))
    random.Random(1).shuffle(order)
    return [lines[place] for place in order]


def _load(path: str) -> Any:
    import fasttext

    fasttext.FastText.eprint = lambda *words: None  # a warning that every load prints
    return fasttext.load_model(path)
