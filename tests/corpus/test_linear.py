"""A few pages of one source teach a subject, and not the source's style."""

from __future__ import annotations

import random
from pathlib import Path

import numpy
import pytest

from groupwise.corpus.duplicates import save
from groupwise.corpus.linear import Linear, Terms, fitted, lowest
from groupwise.corpus.scoring import held_out

DRAW = random.Random(4)
MATHEMATICS = ["equation", "root", "\\frac", "\\sqrt", "sum", "factor", "solve", "variable", "proof", "integer"]
OTHERS = {
    "war": ["king", "army", "battle", "treaty", "empire", "soldier", "harbor", "revolt", "crown"],
    "code": ["module", "import", "server", "thread", "socket", "handler", "cookie", "request", "cache"],
}
STYLES = {
    "book": ["chapter", "section", "learning", "objectives", "summary", "exercise", "review"],
    "manual": ["parameters", "returns", "example", "note", "deprecated", "version", "see", "also", "usage", "default"],
}


def page(style: str, subject: list[str]) -> str:
    """Half of it is its source's style, a third its subject, and the rest is everywhere."""
    words = (
        DRAW.choices(STYLES[style], k=60) + DRAW.choices(subject, k=40) + DRAW.choices(["the", "of", "and", "is"], k=20)
    )
    DRAW.shuffle(words)
    return " ".join(words)


def crawl(count: int) -> tuple[list[str], numpy.ndarray]:
    pages, wanted = [], []
    for _ in range(count):
        for style in STYLES:
            for subject in (MATHEMATICS, *OTHERS.values()):
                pages.append(page(style, subject))
                wanted.append(subject is MATHEMATICS)
    return pages, numpy.array(wanted)


def test_a_seed_of_one_source_finds_the_subject_in_another(tmp_path: Path) -> None:
    pages, wanted = crawl(30)
    seed = [page("book", MATHEMATICS) for _ in range(6)]
    path = tmp_path / "classifier.bin"
    read = Linear().read(pages)
    counts = Linear().train(Linear().read(seed), read[:18], path)
    assert counts["wanted"] == 6
    assert counts["random"] == 18
    assert 0 < counts["updates"] < 100
    scores = Linear().scores(path, read)
    manuals = numpy.array([place // 3 % 2 == 1 for place in range(len(pages))])
    assert scores[wanted & manuals].min() > scores[~wanted & manuals].max()
    assert ((scores > 0) & (scores < 1)).all()


def test_the_same_pages_give_the_same_bytes(tmp_path: Path) -> None:
    pages = Linear().read(crawl(3)[0])
    for name in ("one", "two"):
        Linear().train(pages[:4], pages[4:], tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_weights_are_where_the_loss_is_lowest() -> None:
    pages = Terms.of(Linear(features=50).read(["a b c", "a b d", "e f", "e g", "h"]))
    truth = numpy.array([True, True, False, False, False])
    weights, _ = fitted(pages, truth, 50, 1.0)
    dense = numpy.zeros((5, 51))
    for row in range(5):
        for place in range(pages.starts[row], pages.starts[row + 1]):
            dense[row, pages.terms[place]] += pages.values[place]
    dense[:, 50] = 1.0
    ours, signs = numpy.where(truth, 1.25, 5 / 6), numpy.where(truth, 1.0, -1.0)
    slopes = -ours * signs / (1.0 + numpy.exp(signs * (dense @ weights)))
    gradient = dense.T @ slopes + numpy.append(weights[:-1], 0.0)
    assert numpy.abs(gradient).max() < 1e-3
    assert (dense @ weights)[truth].min() > (dense @ weights)[~truth].max()


def test_terms_that_say_nothing_are_not_learned() -> None:
    pages = Terms(numpy.array([0, 3, 4, 5]), numpy.array([7, 3, 9, 3, 9]), numpy.array([1.0, 0.0, 2.0, 0.0, 4.0]))
    narrow, names = pages.narrowed()
    assert names.tolist() == [7, 9]
    assert (narrow.starts.tolist(), narrow.terms.tolist()) == ([0, 2, 2, 3], [0, 1, 1])
    assert narrow.values.tolist() == [1.0, 2.0, 4.0]


def test_pages_that_were_read_come_back_from_a_file(tmp_path: Path) -> None:
    for texts in (["a b b", "", "\\frac x = y"], [""], []):
        pages = Linear().read(texts)
        save(tmp_path / "read.npz", Linear().packed(pages))
        with numpy.load(tmp_path / "read.npz") as arrays:
            again = Linear().unpacked(arrays)
        assert [(terms.tolist(), values.tolist()) for terms, values in again] == [
            (terms.tolist(), values.tolist()) for terms, values in pages
        ]


def test_the_lowest_point_of_a_bowl() -> None:
    scale = numpy.array([1.0, 10.0, 100.0])
    point, steps = lowest(lambda at: (float(0.5 * scale @ (at - 3.0) ** 2), scale * (at - 3.0)), numpy.zeros(3))
    assert numpy.allclose(point, 3.0, atol=0.02)
    assert steps < 50


@pytest.mark.parametrize("texts", [[], [""], ["", "\n\n", "🙂"], ["数学 x^2", "a" * 100_000]])
def test_strange_pages_have_scores(tmp_path: Path, texts: list[str]) -> None:
    Linear().train(Linear().read(["a b", ""]), Linear().read(["c d", "🙂"]), tmp_path / "classifier.bin")
    scores = Linear().scores(tmp_path / "classifier.bin", Linear().read(texts))
    assert scores.shape == (len(texts),)
    assert numpy.isfinite(scores).all()


def test_without_formulas_it_does_not_see_them(tmp_path: Path) -> None:
    one, other = Linear(formulas=False).read(["the sum $x + y$ is \\frac here", "the sum is here"])
    assert sorted(one[0]) == sorted(other[0])


def test_a_wanted_page_among_the_random_ones_is_still_found(tmp_path: Path) -> None:
    others = [page(style, subject) for style in STYLES for subject in OTHERS.values() for _ in range(5)]
    known, unknown = held_out(
        Linear(),
        Linear().read(page("book", MATHEMATICS) for _ in range(6)),
        Linear().read([*others[:10], page("manual", MATHEMATICS), *others[10:]]),
        tmp_path / "half.bin",
    )
    assert known.min() > 0.5
    assert int(unknown.argmax()) == 10
    assert not (tmp_path / "half.bin").exists()


def test_pages_are_weighted_to_length_one() -> None:
    pages = Terms(numpy.array([0, 2, 2]), numpy.array([0, 1]), numpy.array([1.0, 2.0]))
    assert numpy.allclose(pages.weighted(numpy.array([3.0, 2.0])).values, [0.6, 0.8])
    assert pages.times(numpy.array([10.0, 1.0])).tolist() == [12.0, 0.0]
    assert pages.gathered(numpy.array([2.0, 5.0]), 3).tolist() == [2.0, 4.0, 0.0]


@pytest.mark.parametrize("texts", [(["a b c"], ["d e", "f", "g h"]), ([""], ["", ""]), (["a a"], ["a a"]), (["x"], [])])
def test_where_pages_share_nothing_or_everything_nothing_is_learned(
    texts: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    """Nothing but rounding leads down; it is not followed to weights without end."""
    wanted, others = map(Linear().read, texts)
    counts = Linear().train(wanted, others, tmp_path / "classifier.bin")
    scores = Linear().scores(tmp_path / "classifier.bin", [*wanted, *others, *Linear().read(["other words"])])
    assert counts["updates"] <= 100
    assert numpy.isfinite(numpy.load(tmp_path / "classifier.bin")).all()
    if texts[1]:
        assert scores == pytest.approx(0.5, abs=1e-3)
