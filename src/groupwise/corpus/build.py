"""This module makes a corpus, stage after stage. What is there already, of the same inputs and settings, is not made
again: the same command goes on where it was ended, and ends with the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy

from groupwise.corpus.annotations import OTHER, WANTED, Annotations
from groupwise.corpus.duplicates import Signing, save
from groupwise.corpus.engine import Executor, run_each
from groupwise.corpus.finishing import Finishing, index_of
from groupwise.corpus.reading import Reading
from groupwise.corpus.rounds import Round, Rounds, Scoring, remove_rounds_from
from groupwise.corpus.seeds import Seed
from groupwise.corpus.settings import Corpus
from groupwise.corpus.shards import added, finished, remove_partial
from groupwise.corpus.unique import Pages, deduplicate
from groupwise.errors import UserError
from groupwise.storage.atomic import read_json, remove_any, write_json

LIBRARIES = ("datatrove", "fastwarc", "resiliparse", "fasttext-numpy2-wheel", "rensa", "tldextract", "pyarrow", "numpy")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Build:
    """A build is a corpus, what it is made of, and where."""

    directory: Path
    corpus: Corpus
    archives: tuple[tuple[str, Path], ...]
    """``("crawl-00000", PATH)``, in order."""
    seed: Seed
    annotations: Annotations = field(default_factory=lambda: Annotations({}))
    executor: Executor = field(default_factory=Executor)
    tell: Tell = print

    @property
    def names(self) -> list[str]:
        """Returns the names of the archives, by which their files are called."""
        return [name for name, _ in self.archives]

    def run(self) -> dict[str, Any]:
        """Makes what is missing, and returns the manifest."""
        self.directory.mkdir(parents=True, exist_ok=True)
        remove_partial(self.directory)
        index_of(self.corpus.decontaminate)  # what is wrong with it is said before hours have passed
        self._read()
        pages = self._deduplicate()
        last, first = self._rounds(pages)
        self._finish(pages, last, first)
        return self._manifest(last)

    def _each(self, work: Callable[[str], None], stage: str) -> None:
        run_each(self.executor, work, self.names, self.directory / "logs" / stage)

    def _stage(self, stage: str, key: Any, remove: Sequence[str]) -> str:
        """Removes what a stage made of other inputs; returns the stage's key."""
        text = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
        path = self.directory / "keys" / f"{stage}.json"
        path.parent.mkdir(exist_ok=True)
        if (read_json(path, dict) or {}).get("key") != text:
            for each in remove:
                remove_any(self.directory / each)
            write_json(path, {"key": text})
        return text

    def _key(self, stage: str) -> str:
        return str((read_json(self.directory / "keys" / f"{stage}.json", dict) or {}).get("key"))

    def _read(self) -> None:
        corpus = self.corpus
        self._stage("pages", repr((corpus.read, corpus.extract, corpus.quality)), ["pages", "dropped"])
        self._forget_other_archives()
        work = Reading(self.directory, self.archives, corpus.read, corpus.extract, corpus.quality)
        self._each(work, "pages")
        counts = [finished(self.directory / "pages", name) or {} for name in self.names]
        for stage in ("read", "extract", "quality"):
            self.tell(said(stage, added(each[stage] for each in counts)))

    def _forget_other_archives(self) -> None:
        """Removes what was read of archives that are no part of the crawl, or have another size by now."""
        sizes = {name: path.stat().st_size for name, path in self.archives}
        for path in sorted((self.directory / "pages").glob("*.json")):
            if (read_json(path, dict) or {}).get("bytes") != sizes.get(path.stem, -1):
                path.unlink()
        for path in (*self.directory.glob("pages/*-[0-9][0-9][0-9].parquet"), *self.directory.glob("corpus/*.parquet")):
            if path.stem[:-4] not in sizes:
                path.unlink()
        for path in self.directory.glob("dropped/*.parquet"):
            if path.stem.partition("-")[2] not in sizes:
                path.unlink()

    def _deduplicate(self) -> Pages:
        sizes = [(name, path.stat().st_size) for name, path in self.archives]
        self._stage("unique", [self._key("pages"), sizes, repr(self.corpus.minhash)], ["unique"])
        if not finished(self.directory / "unique", "all"):
            self._each(Signing(self.directory, self.corpus.minhash), "signatures")
            deduplicate(self.directory, self.names, self.corpus.minhash)
        self.tell(said("unique", added((finished(self.directory / "unique", "all") or {}).values())))
        pages = Pages.read(self.directory, self.names)
        if not len(pages):
            raise UserError(f"{self.directory}: no page is left to choose from; the table above says why")
        return pages

    def _rounds(self, pages: Pages) -> tuple[Round, numpy.ndarray]:
        corpus = self.corpus
        rounds = Rounds(
            self.directory, pages, self.seed, self.annotations, corpus.classifier, corpus.recall, corpus.domains
        )
        seed, refused = rounds.first_seed(), numpy.zeros(len(pages), bool)
        answered = refused
        if not seed.any() and not self.seed.texts:
            raise UserError("--seed: none of its addresses is a page of this crawl; expected some, or rows with text")
        first = numpy.where(seed, 1, 0)
        settings = repr((corpus.classifier, corpus.recall, corpus.domains))
        texts = hashlib.sha256("\0".join(self.seed.texts).encode("utf-8", "replace")).hexdigest()
        before: Round | None = None
        for number in range(1, corpus.recall.iterations + 1):
            wanted = rounds.wanted(seed, refused, before)
            key = [self._key("unique"), settings, texts, *map(_hash, (seed, wanted, refused, answered))]
            if self._key(f"iteration-{number}") != self._stage(f"iteration-{number}", key, [f"iteration-{number}"]):
                remove_rounds_from(self.directory, number)
            learned = rounds.train(number, seed, wanted, answered)
            self._each(Scoring(self.directory, rounds.path(number), corpus.classifier), f"scores-{number}")
            found = rounds.collect(number, seed, refused, before)
            self.tell(round_said(found, learned))
            first = numpy.where((first == 0) & found.kept, number, first)
            before = found
            if rounds.ends(found):
                break
            asked = rounds.asked(found)
            refused, answered = refused | (rounds.called(OTHER) & asked), answered | (rounds.called(WANTED) & asked)
            seed = seed & ~refused
            seed[found.joined] = True
        remove_rounds_from(self.directory, found.number + 1)
        return found, first

    def _finish(self, pages: Pages, last: Round, first: numpy.ndarray) -> None:
        rule = self.corpus.decontaminate
        index = index_of(rule)
        items = hashlib.sha256(repr(index.items if index else ()).encode()).hexdigest()
        key = [self._key(f"iteration-{last.number}"), repr(rule), items, _hash(last.kept), _hash(first)]
        self._stage("corpus", key, ["corpus", "corpus-counts", "chosen"])
        kinds = [("score", "float32"), ("iteration", "int32"), ("reason", "U16")]
        for number, name in enumerate(pages.names):
            here = slice(pages.starts[number], pages.starts[number + 1])
            chosen = numpy.zeros(here.stop - here.start, kinds)
            chosen["score"], chosen["iteration"] = last.scores[here], numpy.where(last.kept, first, 0)[here]
            chosen["reason"] = "score"
            save(self.directory / "chosen" / f"{name}.npy", chosen)
        self._each(Finishing(self.directory, rule), "corpus")
        counts = [finished(self.directory / "corpus-counts", name) or {} for name in self.names]
        for stage in ("recall", "decontaminate"):
            self.tell(said(stage, added(each[stage] for each in counts)))

    def _manifest(self, last: Round) -> dict[str, Any]:
        directory = self.directory
        parts = [finished(directory / "pages", name) or {} for name in self.names]
        ends = [finished(directory / "corpus-counts", name) or {} for name in self.names]
        unique = finished(directory / "unique", "all") or {}
        counts = {stage: added(each[stage] for each in parts) for stage in ("read", "extract", "quality")}
        counts["unique"] = added(unique.values())
        counts |= {stage: added(each[stage] for each in ends) for stage in ("recall", "decontaminate")}
        rounds = [finished(directory / f"iteration-{number}", "round") for number in range(1, last.number + 1)]
        manifest = {
            "counts": counts,
            "rounds": rounds,
            "files": {path.name: file_hash(path) for path in sorted((directory / "corpus").glob("*.parquet"))},
            "settings": repr(self.corpus),
            "versions": {name: version(name) for name in LIBRARIES},
        }
        write_json(directory / "manifest.json", manifest)
        shutil.rmtree(directory / "logs", ignore_errors=True)
        return manifest


def said(stage: str, counts: dict[str, Any]) -> str:
    """``unique: 1,684 in, 1,402 kept; 100 address, 97 exact copy, 85 near copy``."""
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in counts["dropped"].items())
    return f"{stage}: {counts['in']:,} in, {counts['kept']:,} kept" + (f"; {dropped}" if dropped else "")


def round_said(found: Round, learned: dict[str, int]) -> str:
    """What a round did, in one line."""
    numbers = found.numbers
    return (
        f"round {found.number}: learned of {learned['wanted']:,} wanted and {learned['random']:,} random pages "
        f"({learned['updates']:,} updates); {numbers['collected']:,} pages score "
        f"{numbers['least score']:.3f} and more, "
        f"{numbers['joins the seed']:,} join the seed; {numbers['kept']:,} are kept, "
        f"{numbers['kept before']:.1%} of them as before"
    )


def _hash(values: numpy.ndarray) -> str:
    return hashlib.sha256(numpy.ascontiguousarray(values).tobytes()).hexdigest()


def file_hash(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
