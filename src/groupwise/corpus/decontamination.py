"""This module finds benchmark questions in text, by the n-gram rule of DeepSeekMath (arXiv 2402.03300, section 2.1).

Five rules, each of which says what it found and where:

1. *grams*: a run of 10 tokens that the text shares with a benchmark's question (or solution, where that is asked).
2. *whole item*: a question of 3 to 9 tokens, found whole; one of fewer than 3 words ("12 + 7 = ?") with its signs, too.
3. *numbers changed*: at least half of a question's 10-grams are in the text once all numbers count as equal, and the
   question has a number. The paper has no such rule.
4. *reworded*: at least 0.6 of a question's 5-grams are in one stretch of the text, twice as long as the question, once
   all numbers count as equal: names were changed, words here and there, sentences stand in another order. The paper
   has no such rule.
5. *letters*: a run of 60 letters and digits that the text shares with a question once all else is left out: words
   stand without spaces, or spaces in words. The paper has no such rule.

Deviations: the paper does not say what a token is; here it is ``grams``'. Runs that many items of one benchmark share
are its template ("Answer the following question and put ..."), and convict nothing; runs that two share are a way of
asking ("what is its area in square centimeters"), and convict where half of a question's runs are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

import numpy

from groupwise.corpus.benchmarks import Item, read_benchmarks
from groupwise.corpus.gram_tables import Table, densest, different, evidence, phrases, telling
from groupwise.corpus.grams import HASHES, NUMBER, UNSPACED, grams, joined, numbers_as_one, separated, unlined
from groupwise.corpus.plain_text import plain

if TYPE_CHECKING:
    from groupwise.corpus.grams import Hashes

Rule = Literal["grams", "whole item", "numbers changed", "reworded", "letters"]
HALF = 0.5
"""Of a question's runs, where none of those that were found is its own."""
FEW, STRETCH = 5, 2
"""Tokens of a run of a question that is reworded, and how much longer than it the stretch of text is."""
OTHER_SIGNS = re.compile(r"[\W_]+")
NOT_A_SIGN = re.compile(r"[\s${}\\]")
VIEWS: tuple[Callable[[str], list[str]], ...] = (separated, joined)


@dataclass(frozen=True)
class NGrams:
    """This value says against which benchmarks text is looked through, and by which lengths."""

    against: tuple[str, ...] = ()
    """Names, files, or ``NAME=FILE`` (``benchmarks.read_benchmarks``)."""
    size: Annotated[int, "[2, inf)"] = 10
    """Tokens of a run that convicts."""
    shortest: Annotated[int, "[1, inf)"] = 3
    """Tokens of the shortest question that is looked for whole."""
    changed: Annotated[float, "[0, 1]"] = 0.5
    """Share of a question's runs that convicts where numbers may differ; 0: that rule is off."""
    reworded: Annotated[float, "[0, 1]"] = 0.6
    """Share of a question's runs of 5 that convicts in one stretch of text; 0: that rule is off."""
    letters: Annotated[int, "[0, inf)"] = 60
    """Letters and digits of a run that convicts where all else is left out; 0: that rule is off."""
    benchmarks: str = ""
    """A folder that holds ``NAME/test.jsonl``."""
    solutions: bool = False
    """Whether a run of a solution convicts too: then phrases that all solutions share do ("and multiply by 100 to")."""

    def index(self) -> Index:
        """Reads the benchmarks. Raises UserError for one that cannot be read."""
        return Index(self, tuple(read_benchmarks(self.against, self.benchmarks or None)))


@dataclass(frozen=True)
class Hit:
    """A hit is one item of a benchmark that a text holds, with the evidence."""

    item: Item
    rule: Rule
    grams: int
    """How many of its runs were found."""
    text: str
    """The longest run of tokens that both have."""


@dataclass(frozen=True)
class Index:
    """An index holds the runs of all items of the benchmarks."""

    rule: NGrams
    items: tuple[Item, ...]

    @cached_property
    def _questions(self) -> list[tuple[str, str]]:
        return [(item.benchmark, item.question) for item in self.items]

    @cached_property
    def _plain(self) -> list[str]:
        return [plain(item.question) for item in self.items]

    @cached_property
    def _runs(self) -> dict[int, Hashes]:
        """Of each item: the runs of its question that are no template's."""
        found = [
            (number, grams(HASHES.of(view(text)), self.rule.size))
            for number, text in enumerate(self._plain)
            for view in VIEWS
        ]
        return telling(found, self._questions, self.rule.size)

    @cached_property
    def _long(self) -> Table:
        found = list(self._runs.items())
        for number, item in enumerate(self.items):
            for text in map(plain, item.solutions if self.rule.solutions else ()):
                found += [(number, grams(HASHES.of(view(text)), self.rule.size)) for view in VIEWS]
        return Table.of(different(found))

    @cached_property
    def _phrases(self) -> Hashes:
        """Runs that several questions share: by themselves they are a way of asking."""
        return phrases(self._runs, self._questions)

    @cached_property
    def _counts(self) -> list[int]:
        """Counts the runs of words in each question; one at least."""
        return [max(len(separated(text)) - self.rule.size + 1, 1) for text in self._plain]

    @cached_property
    def _whole(self) -> dict[int, Table]:
        """By length: questions that are shorter than a run, or have none but a template's."""
        found: dict[int, list[tuple[int, Hashes]]] = {}
        for number, text in enumerate(self._plain):
            for tokens in (view(text) for view in VIEWS):
                short = self.rule.shortest <= len(tokens) < self.rule.size
                if short or (len(tokens) >= self.rule.size and not len(self._runs[number])):
                    found.setdefault(len(tokens), []).append((number, grams(HASHES.of(tokens), len(tokens))))
        return {length: Table.of(different(found[length])) for length in sorted(found)}

    @cached_property
    def _signs(self) -> dict[int, str]:
        """Of items with fewer words than the shortest question that is looked for: every sign of them."""
        return {
            number: squeezed(text)
            for number, text in enumerate(self._plain)
            if sum(map(is_word, separated(text))) < self.rule.shortest
        }

    def _masked(self, size: int) -> dict[int, Hashes]:
        """Of each item: its runs with every number the same."""
        found = [(number, grams(HASHES.of(numbers_as_one(text)), size)) for number, text in enumerate(self._plain)]
        return telling(found, self._questions, size)

    @cached_property
    def _changed(self) -> tuple[Table, dict[int, int]]:
        """Of questions with numbers in them: their runs without, and how many each has."""
        masked = self._masked(self.rule.size)
        runs = {number: masked[number] for number, text in enumerate(self._plain) if NUMBER.search(text)}
        return Table.of(runs), {number: len(each) for number, each in runs.items()}

    @cached_property
    def _reworded(self) -> tuple[Table, dict[int, int]]:
        """Of questions that are as long as a run: their short runs without numbers, and how many each has."""
        runs = {number: each for number, each in self._masked(FEW).items() if len(each) > self.rule.size - FEW}
        return Table.of(runs), {number: len(each) for number, each in runs.items()}

    @cached_property
    def _letters(self) -> tuple[Table, Hashes, dict[int, int]]:
        """Of each item: its runs of letters and digits that are no template's, and how many it has; and those runs that
        several questions share."""
        runs = [(number, grams(HASHES.of(letters(text)), self.rule.letters)) for number, text in enumerate(self._plain)]
        mine = telling(runs, self._questions, self.rule.letters)
        sizes = {number: len(each) for number, each in mine.items()}
        return Table.of(mine), phrases(mine, self._questions), sizes

    @cached_property
    def too_short(self) -> int:
        """Counts the items that are too short to be looked for."""
        return sum(len(separated(text)) < self.rule.shortest for text in self._plain)

    def hits(self, text: str) -> list[Hit]:
        """All items that a text holds, by the first rule that convicts, those with most evidence first."""
        bare = plain(text)
        found: dict[int, Hit] = {}
        for seen in dict.fromkeys((bare, unlined(bare))):
            for hit in (hit for view in VIEWS for hit in self._exact(view(seen), seen)):
                before = found.get(id(hit.item))
                if before is None or before.grams < hit.grams:
                    found[id(hit.item)] = hit
            tokens = numbers_as_one(seen)
            for hit in (*self._numbers_changed(tokens), *self._other_words(tokens), *self._without_spaces(seen)):
                found.setdefault(id(hit.item), hit)
        return sorted(found.values(), key=lambda hit: (-hit.grams, hit.item.benchmark, hit.item.number))

    def _exact(self, tokens: Sequence[str], bare: str) -> Iterator[Hit]:
        hashes = HASHES.of(tokens)
        runs = grams(hashes, self.rule.size)
        for number, places in self._long.by_item(runs).items():
            found = numpy.unique(runs[places])
            if numpy.isin(found, self._phrases).all() and len(found) < HALF * self._counts[number]:
                continue
            yield Hit(self.items[number], "grams", len(places), evidence(tokens, places, self.rule.size))
        for length, table in self._whole.items():
            for number, places in table.by_item(grams(hashes, length)).items():
                signs = self._signs.get(number)
                if signs is None or stands_in(signs, squeezed(bare)):
                    yield Hit(self.items[number], "whole item", 1, evidence(tokens, places, length))

    def _numbers_changed(self, tokens: Sequence[str]) -> Iterator[Hit]:
        if not self.rule.changed:
            return
        runs = grams(HASHES.of(tokens), self.rule.size)
        table, sizes = self._changed
        for number, places in table.by_item(runs).items():
            found = len(numpy.unique(runs[places]))
            if found >= self.rule.changed * sizes[number]:
                yield Hit(self.items[number], "numbers changed", found, evidence(tokens, places, self.rule.size))

    def _other_words(self, tokens: Sequence[str]) -> Iterator[Hit]:
        if not self.rule.reworded:
            return
        runs = grams(HASHES.of(tokens), FEW)
        table, sizes = self._reworded
        for number, places in table.by_item(runs).items():
            least = self.rule.reworded * sizes[number]
            if len(places) < least:
                continue
            near = densest(places, runs, STRETCH * (sizes[number] + FEW))
            found = len(numpy.unique(runs[near]))
            if found >= least:
                yield Hit(self.items[number], "reworded", found, evidence(tokens, near, FEW))

    def _without_spaces(self, bare: str) -> Iterator[Hit]:
        if not self.rule.letters:
            return
        signs = letters(bare)
        runs = grams(HASHES.of(signs), self.rule.letters)
        table, shared, sizes = self._letters
        for number, places in table.by_item(runs).items():
            mine = numpy.unique(runs[places])
            if numpy.isin(mine, shared).all() and len(mine) < HALF * sizes[number]:
                continue
            found = evidence(signs, places, self.rule.letters).replace(" ", "")
            yield Hit(self.items[number], "letters", len(places), found)


def letters(text: str) -> str:
    """The letters and digits of a plain text, and nothing else."""
    return OTHER_SIGNS.sub("", text)


def is_word(token: str) -> bool:
    """Whether a token says more than a number or the name of a variable."""
    return token.isalpha() if len(token) > 1 else bool(re.fullmatch(f"[{UNSPACED}]", token))


def squeezed(text: str) -> str:
    """A plain text without white space and the marks in which formulas stand."""
    return NOT_A_SIGN.sub("", text)


def stands_in(signs: str, text: str) -> bool:
    """Whether signs stand in a text, and are no part of a longer number or word."""
    start = text.find(signs)
    while start >= 0:
        end = start + len(signs)
        before, after = text[start - 1 : start], text[end : end + 1]
        if not (before.isalnum() and signs[0].isalnum()) and not (after.isalnum() and signs[-1].isalnum()):
            return True
        start = text.find(signs, start + 1)
    return False
