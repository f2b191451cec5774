"""What a round collects, asks and learns of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from groupwise.corpus.annotations import Annotations, read_annotations, write_annotations
from groupwise.corpus.classifier import FastText
from groupwise.corpus.domains import Domains, domain_rows
from groupwise.corpus.linear import Linear
from groupwise.corpus.rounds import Recall, Round, Rounds, alike, best, drawn
from groupwise.corpus.seeds import Seed, read_seed
from groupwise.corpus.unique import Pages
from groupwise.errors import UserError


def pages(*addresses: str) -> Pages:
    domains = tuple(address.partition("/")[0] for address in addresses)
    return Pages(Path(), ("a",), (0, len(addresses)), addresses, domains, numpy.full(len(addresses), 100))


def test_the_best_are_collected_up_to_a_share_of_the_characters() -> None:
    scores = numpy.array([0.1, 0.9, 0.5, 0.5, 0.8], numpy.float32)
    size = numpy.array([100, 100, 100, 100, 100])
    nobody = numpy.zeros(5, bool)
    chosen, least = best(scores, size, 0.4, nobody)
    assert chosen.tolist() == [False, True, False, False, True]
    assert least == pytest.approx(0.8)
    chosen, _ = best(scores, size, 0.6, nobody)
    assert chosen.tolist() == [False, True, True, False, True], "of equal ones the first"
    chosen, _ = best(scores, size, 0.4, numpy.array([False, True, False, False, False]))
    assert chosen.tolist() == [False, False, True, False, True]
    assert best(scores, size, 0.1, nobody)[0].sum() == 0
    assert best(scores, size, 1.0, nobody)[0].all()


def test_pages_are_collected_that_score_more_like_the_seed_than_the_rest() -> None:
    scores = numpy.array([0.2, 0.2, 0.3, 0.45, 0.6], numpy.float32)
    chosen, least = alike(scores, 0.6, numpy.array([False, False, False, False, True]))
    assert least == pytest.approx(0.4)
    assert chosen.tolist() == [False, False, False, True, False]
    nobody = numpy.zeros(5, bool)
    assert alike(scores, 0.1, nobody)[0].sum() == 0, "a seed below all others tells nothing apart"
    assert alike(numpy.full(5, 0.5), 0.5, nobody)[0].all()


def test_domains_of_which_more_than_a_tenth_was_collected() -> None:
    ours = [f"a.org/books/x/{number}" for number in range(9)] + ["a.org/books/y/1", "a.org/books/y/2", "a.org/about"]
    theirs = [f"b.org/{number}" for number in range(10)] + ["c.org/only"]
    found = pages(*ours, *theirs)
    collected = numpy.array([True] * 4 + [False] * 8 + [True] + [False] * 9 + [True])
    rows = domain_rows(found, collected, Domains())
    assert [(row["prefix"], row["pages"], row["collected"]) for row in rows] == [
        ("a.org", 12, 4),
        ("a.org/books", 11, 4),
        ("a.org/books/x", 9, 4),
        ("a.org/books/y", 2, 0),
    ], "b.org has a tenth and not more, c.org one page"
    assert [row["domain"] for row in domain_rows(found, collected, Domains(share=0.05))][-1] == "b.org"
    assert {row["prefix"] for row in domain_rows(found, collected, Domains(deepest=1))} == {"a.org", "a.org/books"}


def test_the_longest_answered_prefix_decides(tmp_path: Path) -> None:
    path = tmp_path / "annotations.toml"
    write_annotations(path, {"a.org/books": "11 pages", "a.org/books/y": "2 pages", "b.org": ""}, {})
    assert read_annotations(path).answered == {}
    path.write_text(path.read_text().replace('books" = ""', 'books" = "wanted"').replace('y" = ""', 'y" = "other"'))
    said = read_annotations(path, ["c.org/x", "https://D.org/=other"])
    assert said.verdict("a.org/books/x/1") == "wanted"
    assert said.verdict("a.org/books/y/1") == "other"
    assert said.verdict("a.org/bookshop") == said.verdict("b.org/1") == ""
    assert (said.verdict("c.org/x/1"), said.verdict("d.org")) == ("wanted", "other")
    write_annotations(path, {"b.org": "10 pages"}, read_annotations(path).answered)
    assert read_annotations(path).answered == {"a.org/books": "wanted", "a.org/books/y": "other"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[prefixes]\n"a.org" = "yes"', 'expected "wanted", "other" or ""'),
        ("[prefixes", "can't be read"),
        ('[prefixes]\n"a b" = "wanted"', "expected a prefix"),
        ("prefixes = 3", "is no table"),
        ('[prefixes]\n"a.org" = 1', 'expected "wanted", "other" or ""'),
    ],
)
def test_annotations_that_say_nothing_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "annotations.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_annotations(path)


def test_a_seed_is_addresses_prefixes_or_texts(tmp_path: Path) -> None:
    (tmp_path / "seed.txt").write_text("# mine\nhttps://A.org/x/\n\nb.org/books/*\nc.org/index.html\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "two and two"}\n{"url": "http://d.org/1#a"}\n')
    seed = read_seed([str(tmp_path / "seed.txt"), str(tmp_path / "rows.jsonl")])
    assert seed.texts == ("two and two",)
    held = ["a.org/x", "b.org/books/1", "c.org", "d.org/1"]
    assert all(seed.holds(address) for address in held)
    assert not any(seed.holds(address) for address in ("a.org/x/y", "b.org/bookshop", "c.org/z", "d.org/12"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.txt", None, "no such file"),
        ("a.txt", "javascript:x://", "expected an address"),
        ("a.jsonl", '{"question": "1 + 1"}', "expected text or url"),
        ("a.jsonl", '{"url": "nowhere"}', "expected an address"),
    ],
)
def test_a_seed_that_is_none_is_refused(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        read_seed([str(tmp_path / name)])


def test_what_was_collected_is_learned_of_unless_a_person_called_it_other() -> None:
    seed, refused = numpy.array([True, False, False, False]), numpy.array([False, False, True, False])
    before = Round(1, numpy.zeros(4), numpy.array([True, True, True, False]), numpy.zeros(0, int), {})
    learned = {}
    for recall in (Recall(), Recall(learn=False), Recall(share=0.2)):
        rounds = Rounds(Path(), pages("a.org/1"), Seed(), Annotations({}), Linear(), recall, Domains())
        assert rounds.wanted(seed, refused, None).tolist() == seed.tolist()
        learned[recall.learn, recall.share] = rounds.wanted(seed, refused, before).tolist()
    alone = seed.tolist()
    assert learned == {(True, 0.0): [True, True, False, False], (False, 0.0): alone, (True, 0.2): alone}


def test_a_page_is_known_by_the_addresses_of_its_copies() -> None:
    some = pages("mirror.example/1", "mirror.example/2", "a.org/book/3")
    some = replace(some, copies={"mirror.example/1": ["a.org/book/1"], "mirror.example/2": ["b.org/2"]})
    said = Annotations({"a.org/book": "wanted", "b.org": "other"})
    seed = Seed(frozenset({"a.org/book/1"}))
    rounds = Rounds(Path(), some, seed, said, FastText(), Recall(), Domains())
    assert rounds.first_seed().tolist() == [True, False, False]
    assert rounds.called("wanted").tolist() == [True, False, True]
    assert rounds.called("other").tolist() == [False, True, False]


def test_random_pages_depend_on_their_addresses_alone() -> None:
    some = pages(*(f"a.org/{number}" for number in range(100)))
    first = drawn(some, range(100), 10)
    assert len(first) == 10
    assert first == drawn(some, list(reversed(range(100))), 10)
    assert set(first) < set(drawn(some, range(100), 20))
    assert drawn(some, range(5), 10) == [0, 1, 2, 3, 4]


def test_a_classifier_learns_and_is_the_same_each_time(tmp_path: Path) -> None:
    wanted = [f"the sum of the angle and the square root of number {number} is a prime" for number in range(60)]
    other = [f"the king went to war with the people in the year {number} and lost" for number in range(60)]
    small = FastText(dimension=8, buckets=1000, least=1)
    counts = small.train(small.read(wanted), small.read(other), tmp_path / "a.bin")
    assert counts == {"wanted": 60, "random": 60, "updates": 2400}
    small.train(small.read(wanted), small.read(other), tmp_path / "b.bin")
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    pages = small.read(["the square root\nof a prime number", "the king lost the war", ""])
    scores = small.scores(tmp_path / "a.bin", pages)
    assert scores[0] > 0.7 > 0.3 > scores[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.bin"]


def test_pieces_and_formulas() -> None:
    (line,) = FastText().read(["A b\nc  d e"])
    assert FastText(segment=3).segments(line) == ["a b c", "d e"]
    assert FastText(segment=0).segments(line) == ["a b c d e"]
    (bare,) = FastText(formulas=False).read([r"So $x^{2}$ and \(y\) and $$\frac{1}{2}$$ or \alpha end"])
    assert bare == "so and and or end"
    assert Annotations({}).answered == {}
