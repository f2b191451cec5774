"""This module is the first stage of a corpus: an archive's records become pages with their text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from groupwise.corpus.addresses import domain_of, host_of
from groupwise.corpus.archives import RawPage, RefusedRecord, read_archive
from groupwise.corpus.extraction import Extract, Text
from groupwise.corpus.grams import TOKEN
from groupwise.corpus.http_messages import Read
from groupwise.corpus.page_reader import PageReader
from groupwise.corpus.shards import Ledger, Shards, finish, finished

LOOKED_AT = 100_000
GARBLED = re.compile("[\u0080-\u00ff\ufffd]")
MOST_GARBLED = 0.3
"""Share of a text: accented letters of Western languages are much less, and bytes that are no text are mostly these."""
PAGE = ("id", "url", "address", "domain", "date", "archive", "language", "text", "seen", "kept")


@dataclass(frozen=True)
class Quality:
    """This value says which texts are dropped before anything is learned from them."""

    characters: Annotated[int, "[1, inf)"] = 200
    """Of the shortest text that is kept."""
    languages: tuple[str, ...] = ()
    """Those that are kept, as resiliparse names them ("en", "zh"); none: all."""
    word: Annotated[float, "(0, inf)"] = 40.0
    """Mean letters of a word beyond which a text is none."""
    repeated: Annotated[float, "[0, 1]"] = 0.8
    """Share of a text that lies in lines which came before, beyond which it is dropped."""
    commands: bool = False
    """Whether a text is kept only where it has LaTeX in it."""

    def refusal(self, text: Text) -> tuple[str, str] | None:
        """Why a text is dropped, with the evidence; None where it is kept."""
        if len(text.text) < self.characters:
            return "short", f"{len(text.text)} characters"
        if self.languages and text.language not in self.languages:
            return "language", text.language
        words = TOKEN.findall(text.text[:LOOKED_AT])
        mean = sum(map(len, words)) / len(words) if words else float("inf")
        if mean > self.word:
            return "no words", f"{mean:.0f} letters a word" if words else "no letter"
        garbled = len(GARBLED.findall(text.text[:LOOKED_AT])) / len(text.text[:LOOKED_AT])
        if garbled > MOST_GARBLED:
            return "garbled", f"{garbled:.0%} are letters that no language has so many of"
        share = _repeated(text.text)
        if share > self.repeated:
            return "repeated", f"{share:.0%} in lines that came before"
        if self.commands and not text.kept and "\\" not in text.text:
            return "no formula", ""
        return None


def _repeated(text: str) -> float:
    seen: set[str] = set()
    again = total = 0
    for line in text.split("\n"):
        bare = line.strip()
        total += len(bare)
        again += len(bare) if bare in seen else 0
        seen.add(bare)
    return again / total if total else 0.0


@dataclass(frozen=True)
class Reading:
    """This work reads one archive: ``pages/NAME-000.parquet`` and what was dropped."""

    directory: Path
    archives: tuple[tuple[str, Path], ...]
    """``("00000", crawl-00000.warc.gz)``."""
    read: Read
    extract: Extract
    quality: Quality

    def __call__(self, name: str) -> None:
        """Reads the archive of this name, unless that was done."""
        pages = self.directory / "pages"
        if finished(pages, name):
            return
        path = dict(self.archives)[name]
        shards = Shards(pages, name, PAGE)
        read, extract, quality = Ledger("read"), Ledger("extract"), Ledger("quality")
        with PageReader(self.extract) as reader:
            for page in read_archive(path, self.read):
                if isinstance(page, RefusedRecord):
                    read.drop(page.id, page.url, page.reason, page.evidence)
                    continue
                read.keep()
                row = self._row(page, reader, extract, quality)
                if row is not None:
                    shards.add({**row, "archive": path.name})
        shards.close()
        for ledger in (read, extract, quality):
            ledger.write(self.directory / "dropped", name)
        counts = {each.stage: each.to_json() for each in (read, extract, quality)}
        finish(pages, name, {**counts, "bytes": path.stat().st_size})

    def _row(self, page: RawPage, reader: PageReader, extract: Ledger, quality: Ledger) -> dict[str, Any] | None:
        text = reader.read(page.body, page.charset)
        if not isinstance(text, Text):
            extract.drop(page.id, page.url, *text)
            return None
        if not text.text:
            extract.drop(page.id, page.url, "no text", "")
            return None
        extract.keep()
        why = self.quality.refusal(text)
        if why is not None:
            quality.drop(page.id, page.url, *why)
            return None
        quality.keep()
        return {
            "id": page.id,
            "url": page.url,
            "address": page.address,
            "domain": domain_of(host_of(page.address)),
            "date": page.date,
            "language": text.language,
            "text": text.text,
            "seen": text.seen,
            "kept": text.kept,
        }
