"""Puts what was measured of disguises and seeds into docs/corpus.md, between marks.

python benchmarks/corpus_page.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "corpus.md"
Found = dict[str, Any]


def disguises(found: Found) -> str:
    """A row for all ways behind which every question is found, and one for each other, those found least last."""
    ways: dict[str, dict[str, list[int]]] = found["found"]
    whole = [way for way, counts in ways.items() if all(some == all_of for some, all_of in counts.values())]
    others = sorted((way for way in ways if way not in whole), key=lambda way: -_share(ways[way]))
    names = list(next(iter(ways.values())))
    rows = [f"| {way} | {' | '.join(_said(*ways[way][name]) for name in names)} |" for way in others]
    taken = "; ".join(f"{some} of {all_of} {name}" for name, (some, all_of) in found["innocent"].items())
    return "\n".join(
        [
            f"{found['ways']} ways on {found['questions']} questions of each benchmark, in `benchmarks/disguises.json`",
            "(`python benchmarks/disguises.py`); a question that a way leaves as it is does not count:",
            "",
            "| disguise | GSM8K | CMATH |",
            "|---|---|---|",
            f"| {'; '.join(whole)} ({len(whole)} ways) | all | all |",
            *rows,
            "",
            f"Of innocent texts were taken for questions: {taken}.",
        ]
    )


def seeds(found: Found) -> str:
    """A row for each seed: precision and recall, with and without what was collected."""
    rows = [
        f"| {kind} ({both['without']['seed']}) | {_both(both['without'])} | {_both(both['with what was collected'])} |"
        for kind, both in found["seeds"].items()
    ]
    head = "| seed (pages) | precision, recall by the seed alone | with what was collected |"
    return "\n".join([head, "|---|---|---|", *rows])


def _share(counts: dict[str, list[int]]) -> float:
    return sum(some for some, _ in counts.values()) / max(sum(all_of for _, all_of in counts.values()), 1)


def _said(some: int, all_of: int) -> str:
    return f"{some} of {all_of}" if all_of else "–"


def _both(row: Found) -> str:
    return f"{row['precision']:.2f}, {row['recall']:.2f}"


def page(text: str) -> str:
    """The page with its blocks made anew, of the files that are there."""
    for name, make in (("disguises", disguises), ("corpus_seeds", seeds)):
        path = HERE / f"{name}.json"
        if path.exists():
            block = make(json.loads(path.read_text()))
            pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
            text = pattern.sub(lambda found, block=block: f"{found[1]}{block}\n{found[2]}", text)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
