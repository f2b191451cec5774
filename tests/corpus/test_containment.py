"""A page that is a part of a longer one is dropped, in whatever order both come; pages that share a form stay."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy
import pytest

from groupwise.corpus.containment import Samples, short_runs
from groupwise.corpus.duplicates import Comparison, Copy, MinHash, sign

if TYPE_CHECKING:
    from groupwise.corpus.grams import Hashes

DRAW = random.Random(9)
WORDS = [f"w{number}" for number in range(4000)]
COMMON = [f"c{number}" for number in range(60)]
MINHASH = MinHash()


class Memory:
    """These texts are at hand."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def shingles(self, page: int) -> Hashes:
        return MINHASH.shingles(self.texts[page])

    def short_runs(self, page: int) -> tuple[Hashes, Hashes]:
        return short_runs(self.texts[page])


def copies(*texts: str, minhash: MinHash = MINHASH) -> list[Copy | None]:
    signed, some = sign(minhash, list(texts))
    samples = Samples(some[:, 0].astype(numpy.int64), some[:, 1])
    addresses = [f"a.org/{number}" for number in range(len(texts))]
    return Comparison(minhash, addresses, signed, samples, Memory(list(texts))).copies()  # type: ignore[arg-type]


def sentences(count: int, least: int = 8, most: int = 25) -> list[str]:
    """Sentences of rare words and common ones."""
    return [
        " ".join(DRAW.choice(COMMON if DRAW.random() < 0.4 else WORDS) for _ in range(DRAW.randint(least, most))) + "."
        for _ in range(count)
    ]


def shuffled(parts: list[str]) -> list[str]:
    return DRAW.sample(parts, len(parts))


def worded(text: str, share: float) -> str:
    return " ".join(DRAW.choice(WORDS) if DRAW.random() < share else word for word in text.split())


def lines(page: list[str]) -> list[str]:
    """Lines of six words."""
    words = " ".join(page).split()
    return [" ".join(words[start : start + 6]) for start in range(0, len(words), 6)]


OTHER = " ".join(sentences(80))
MADE: dict[str, Callable[[list[str]], str]] = {
    "first half": lambda page: " ".join(page[: len(page) // 2]),
    "last third": lambda page: " ".join(page[-len(page) // 3 :]),
    "middle": lambda page: " ".join(page[len(page) // 4 : -len(page) // 4]),
    "every other block": lambda page: " ".join(line for place, line in enumerate(page) if place // 10 % 2),
    "sentences shuffled": lambda page: " ".join(shuffled(page)),
    "paragraphs shuffled": lambda page: "\n\n".join(
        shuffled([" ".join(page[start : start + 5]) for start in range(0, len(page), 5)])
    ),
    "short lines shuffled": lambda page: "\n".join(shuffled(lines(page))),
    "a third of short lines": lambda page: "\n".join(shuffled(lines(page))[: len(lines(page)) // 3]),
    "first half shuffled": lambda page: " ".join(shuffled(page[: len(page) // 2])),
    "sentences left out": lambda page: " ".join(line for place, line in enumerate(page) if place % 3),
    "cut, with other words": lambda page: worded(" ".join(page[: len(page) // 2]), 0.03),
    "one word of twenty is another": lambda page: worded(" ".join(page), 0.05),
    "with a frame of its own": lambda page: " ".join([*sentences(6), *page[:60]]),
    "without punctuation": lambda page: " ".join(page[:50]).replace(".", "").upper(),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("first", ["whole", "part"])
def test_a_part_of_a_longer_page_is_dropped(name: str, first: str) -> None:
    for _ in range(5):
        whole = sentences(100)
        part = MADE[name](whole)
        pages = [OTHER, " ".join(whole), part] if first == "whole" else [OTHER, part, " ".join(whole)]
        found = copies(*pages)
        assert found[0] is None
        assert [copy is None for copy in found[1:]].count(True) == 1
        (copy,) = filter(None, found)
        assert copy.reason in ("near copy", "part of another")
        assert found[copy.of] is None, "of a page that is kept"
        if len(part) < 0.8 * len(" ".join(whole)):
            assert found.index(None, 1) == pages.index(" ".join(whole)), "the longer one is kept"


def boilerplate(count: int) -> list[str]:
    """Pages that are a frame for the most part."""
    frame = " ".join(sentences(20))
    return [f"{frame} {' '.join(sentences(9))}" for _ in range(count)]


def test_a_part_that_is_quoted_in_a_much_longer_page_is_no_other_address_of_it() -> None:
    part = sentences(20)
    found = copies(" ".join([*sentences(100), *part, *sentences(100)]), " ".join(part))
    assert found[1] is not None
    assert (found[1].reason, found[1].of, found[1].whole) == ("part of another", 0, False)
    assert found[1].evidence.startswith("1.000 of its runs of 3 words, 0.1")


def test_copies_of_a_part_are_copies_of_the_page_that_is_kept() -> None:
    page = sentences(60)
    part = " ".join(page[:40])
    found = copies(part, f"{part}\n", " ".join(page))
    assert [copy and (copy.reason, copy.of) for copy in found] == [("near copy", 2), ("exact copy", 2), None]


def test_pages_that_share_a_half_a_form_or_boilerplate_stay() -> None:
    half = sentences(50)
    table = "\n".join(f"row {number} of the table holds a value" for number in range(40))
    kept = [
        " ".join([*half, *sentences(50)]),
        " ".join([*half, *sentences(50)]),
        f"{table} {' '.join(sentences(25))}",
        f"{table} {' '.join(sentences(25))}",
        "The unit of mass. Header: si/base.hpp. Unit and measure, as in all of these pages. " * 2 + "Kilogram.",
        "The unit of light. Header: si/base.hpp. Unit and measure, as in all of these pages. " * 2 + "Candela.",
        *boilerplate(20),
        " ".join(shuffled([word for line in half for word in line.split()])),
    ]
    assert copies(*kept) == [None] * len(kept)


def test_inside_one_keeps_parts() -> None:
    page = sentences(60)
    assert copies(" ".join(page), " ".join(page[:30]), minhash=MinHash(inside=1.0)) == [None, None]


def test_pages_of_one_word_a_line_are_compared_by_all_their_runs() -> None:
    words, others = DRAW.sample(WORDS, 800), DRAW.sample(WORDS, 250)
    foot = "\nAll rights reserved by the owner of these pages\n"
    table, other = "\n".join(words), "\n".join(words[:200] + others)
    assert copies(table, other) == [None, None]
    assert copies(table + foot, other + foot) == [None, None]
    assert copies(table, "\n".join(words[:500]))[1] is not None
