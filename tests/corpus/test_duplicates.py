"""Copies are dropped, the later of two, and each names the page that is kept."""

from __future__ import annotations

import random
from pathlib import Path

import numpy
import pytest

from groupwise.corpus.containment import Samples
from groupwise.corpus.duplicates import Comparison, Copy, MinHash, Texts, sign
from groupwise.corpus.shards import write_rows

MINHASH = MinHash()
DRAW = random.Random(5)
WORDS = [f"w{number}" for number in range(5000)]


def page(words: int = 300) -> list[str]:
    return [DRAW.choice(WORDS) for _ in range(words)]


def changed(words: list[str], share: float) -> list[str]:
    return [DRAW.choice(WORDS) if DRAW.random() < share else word for word in words]


def copies(tmp_path: Path, rows: list[tuple[str, str]], minhash: MinHash = MINHASH) -> list[Copy | None]:
    pages = [{"address": address, "text": text} for address, text in rows]
    half = len(pages) // 2
    for name, some in (("a", pages[:half]), ("b", pages[half:])):
        write_rows(tmp_path / "pages" / f"{name}-000.parquet", some, ("address", "text"))
    signed, some = sign(minhash, [text for _, text in rows])
    samples = Samples(some[:, 0].astype(numpy.int64), some[:, 1])
    texts = Texts(tmp_path, ("a", "b"), (half, len(pages) - half), minhash)
    return Comparison(minhash, [address for address, _ in rows], signed, samples, texts).copies()


def resemblance(one: str, other: str) -> float:
    mine, its = set(MINHASH.shingles(one).tolist()), set(MINHASH.shingles(other).tolist())
    return len(mine & its) / len(mine | its)


def test_addresses_exact_and_near_copies(tmp_path: Path) -> None:
    first, second = page(), page()
    rows = [
        ("a.org/1", " ".join(first)),
        ("a.org/2", " ".join(second)),
        ("a.org/1", "something else altogether at the same address"),
        ("b.org/1", "  ".join(first) + "\n"),
        ("c.org/1", " ".join([*first[:-1], "changed"])),
        ("b.org/1", " ".join(second[:40])),
        ("d.org/1", " ".join(page())),
    ]
    found = copies(tmp_path, rows)
    assert found[0] is found[1] is found[6] is None
    assert found[2] == Copy("address", 0, "a.org/1")
    assert found[3] == Copy("exact copy", 0, "")
    assert found[4] is not None
    assert (found[4].reason, found[4].of) == ("near copy", 0)
    assert found[4].evidence == f"{resemblance(rows[0][1], rows[4][1]):.3f} of the runs of 5 words"
    assert found[5] is not None
    assert found[5].of == 0, "of the page that is kept, not of one that was dropped"


def test_how_many_are_found_by_resemblance(tmp_path: Path) -> None:
    rows, near = [], []
    for number in range(300):
        words = page()
        rows += [(f"a.org/{number}", " ".join(words)), (f"b.org/{number}", " ".join(changed(words, number / 3000)))]
        near.append(resemblance(rows[-2][1], rows[-1][1]))
    dropped = [each is not None for each in copies(tmp_path, rows)][1::2]
    found = {
        least: [was for was, each in zip(dropped, near, strict=True) if least <= each < most]
        for least, most in ((0.9, 1.1), (0.75, 0.9), (0.0, 0.7))
    }
    assert all(found[0.9])
    assert len(found[0.9]) > 20
    assert sum(found[0.75]) >= 0.85 * len(found[0.75])
    least = min(each for was, each in zip(dropped, near, strict=True) if was)
    assert 0.5 < least < 0.7, "four of five runs of three words are the same in these"


@pytest.mark.parametrize("text", ["", "one", "one two three", "数学题" * 30, "\n\n", "!!!"])
def test_short_and_strange_texts_are_compared(tmp_path: Path, text: str) -> None:
    found = copies(tmp_path, [("a.org/1", text), ("a.org/2", "other words of a page"), ("a.org/3", text)])
    assert found[1] is None
    assert found[2] is not None


def test_similarity_one_keeps_all_but_exact_copies(tmp_path: Path) -> None:
    words = page()
    rows = [("a.org/1", " ".join(words)), ("a.org/2", " ".join([*words, "more"]))]
    assert copies(tmp_path, rows, MinHash(similarity=1.0)) == [None, None]


def test_signatures_do_not_depend_on_what_is_beside(tmp_path: Path) -> None:
    texts = [" ".join(page(50)) for _ in range(5)]
    together = MINHASH.signatures(texts)
    assert numpy.array_equal(together[3:4], MINHASH.signatures(texts[3:4]))
