"""This module looks through rows of data, of whatever convention, for benchmark questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from groupwise.corpus.benchmarks import texts_of
from groupwise.corpus.decontamination import Hit, Index


@dataclass(frozen=True)
class RowHit:
    """A row hit is one benchmark item in one row, with the column that it was found in."""

    row: str
    column: str
    hit: Hit

    def to_json(self) -> dict[str, Any]:
        """Returns it as a file says it."""
        item = self.hit.item
        return {
            "row": self.row,
            "column": self.column,
            "benchmark": item.benchmark,
            "item": item.number,
            "where": item.where,
            "rule": self.hit.rule,
            "grams": self.hit.grams,
            "text": self.hit.text,
        }


def check_rows(rows: Iterable[tuple[str, Mapping[str, Any]]], index: Index) -> list[RowHit]:
    """All hits in rows ``(id, {column: value})``, in every text however deep it lies, and in all texts of a row one
    after the other, as a question may stand in two columns; an item counts once for a row, in the column that shows
    most of it."""
    found: list[RowHit] = []
    for name, row in rows:
        best: dict[int, RowHit] = {}
        texts = {column: list(texts_of(value)) for column, value in row.items()}
        for column, some in texts.items():
            for hit in (hit for text in some for hit in index.hits(text)):
                before = best.get(id(hit.item))
                if before is None or before.hit.grams < hit.grams:
                    best[id(hit.item)] = RowHit(name, column, hit)
        if sum(map(len, texts.values())) > 1:
            together = "\n".join(text for some in texts.values() for text in some)
            columns = " + ".join(column for column, some in texts.items() if some)
            for hit in index.hits(together):
                best.setdefault(id(hit.item), RowHit(name, columns, hit))
        found += sorted(best.values(), key=lambda each: (-each.hit.grams, each.hit.item.number))
    return found
