"""This module is the last stage of a corpus: what was collected, without pages that hold benchmark questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy

from groupwise.corpus.decontamination import Hit, Index, NGrams
from groupwise.corpus.grams import TOKEN
from groupwise.corpus.shards import Ledger, Shards, finish, finished
from groupwise.corpus.unique import unique_table

DOCUMENT = ("text", "url", "id", "domain", "date", "language", "words", "score", "iteration", "seen", "kept")
FROM_PAGES = ("id", "url", "domain", "date", "language", "text", "seen", "kept")


@lru_cache(maxsize=1)
def index_of(rule: NGrams) -> Index | None:
    """The index of benchmarks; None where there are none. Read once in each process."""
    return rule.index() if rule.against else None


@dataclass(frozen=True)
class Finishing:
    """This work writes one archive's part of the corpus, and what was dropped of it."""

    directory: Path
    decontaminate: NGrams

    def __call__(self, name: str) -> None:
        """Writes ``corpus/NAME-000.parquet``, unless that was done."""
        corpus = self.directory / "corpus"
        counts = self.directory / "corpus-counts"
        if finished(counts, name):
            return
        chosen = numpy.load(self.directory / "chosen" / f"{name}.npy")
        index = index_of(self.decontaminate)
        recall, contamination = Ledger("recall"), Ledger("decontaminate")
        shards = Shards(corpus, name, DOCUMENT)
        table = unique_table(self.directory, name, FROM_PAGES)
        for place, batch in enumerate(table.to_batches(max_chunksize=1)):
            row = batch.to_pylist()[0]
            score, iteration = float(chosen["score"][place]), int(chosen["iteration"][place])
            if not iteration:
                recall.drop(row["id"], row["url"], str(chosen["reason"][place]), f"score {score:.4f}")
                continue
            recall.keep()
            hits = index.hits(row["text"]) if index else []
            if hits:
                contamination.drop(row["id"], row["url"], "benchmark", evidence(hits))
                continue
            contamination.keep()
            words = len(TOKEN.findall(row["text"]))
            shards.add({**row, "words": words, "score": score, "iteration": iteration})
        shards.close()
        for ledger in (recall, contamination):
            ledger.write(self.directory / "dropped", name)
        finish(counts, name, {each.stage: each.to_json() for each in (recall, contamination)})


def evidence(hits: Sequence[Hit]) -> str:
    """What was found, in one line: ``gsm8k 17 (grams, 21): janet s ducks lay ...; and 2 more``."""
    said = [f"{hit.item.benchmark} {hit.item.number} ({hit.rule}, {hit.grams}): {hit.text}" for hit in hits[:3]]
    return "; ".join(said) + (f"; and {len(hits) - 3} more" if len(hits) > 3 else "")
