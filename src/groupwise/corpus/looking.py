"""This module shows a corpus page by page: what was kept, what was dropped, at which stage, and why."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.corpus.shards import DROPPED, STAGE_ORDER
from groupwise.corpus.tables import read_table

KEPT = "kept"


@dataclass(frozen=True)
class Choice:
    """This value says which pages are shown."""

    stage: str = ""
    reason: str = ""
    url: str = ""
    """A part of the address."""
    score: tuple[float, float] = (0.0, 1.0)
    kept: bool = False
    dropped: bool = False

    def holds(self, page: dict[str, Any]) -> bool:
        """Says whether a page is among them."""
        is_kept = page["stage"] == KEPT
        return (
            (not self.stage or page["stage"] == self.stage)
            and (not self.reason or page["reason"] == self.reason)
            and self.url.lower() in (page["url"] or "").lower()
            and (not self.kept or is_kept)
            and (not self.dropped or not is_kept)
            and (page["score"] is None or self.score[0] <= page["score"] <= self.score[1])
        )


def pages(directory: Path, choice: Choice) -> Iterator[dict[str, Any]]:
    """Every page that was kept or dropped and is among the chosen, with its text where it has one."""
    from pyarrow import parquet

    if not choice.dropped and choice.stage in ("", KEPT):
        for path in sorted((directory / "corpus").glob("*.parquet")):
            for batch in parquet.ParquetFile(path).iter_batches(200):
                for row in batch.to_pylist():
                    page = {**row, "stage": KEPT, "reason": f"round {row['iteration']}", "evidence": ""}
                    if choice.holds(page):
                        yield page
    if choice.kept:
        return
    for stage in STAGE_ORDER:
        for path in sorted((directory / "dropped").glob(f"{stage}-*.parquet")):
            for row in read_table(path).to_pylist() if choice.stage in ("", stage) else ():
                page = {**{name: row[name] for name in DROPPED}, "text": None, "score": _score(row)}
                if choice.holds(page):
                    yield page


def _score(row: dict[str, Any]) -> float | None:
    """What a page that was not collected had."""
    word = row["evidence"].removeprefix("score ")
    return float(word) if row["stage"] == "recall" and word != row["evidence"] else None


def counts(directory: Path) -> list[tuple[str, str, int]]:
    """How many pages were kept, and dropped by stage and reason."""
    import pyarrow
    from pyarrow import parquet

    kept = sum(parquet.read_metadata(path).num_rows for path in (directory / "corpus").glob("*.parquet"))
    found = [(KEPT, "", kept)]
    for stage in STAGE_ORDER:
        paths = sorted((directory / "dropped").glob(f"{stage}-*.parquet"))
        if not paths:
            continue
        reasons = pyarrow.concat_tables([read_table(path, columns=["reason"]) for path in paths])["reason"]
        found += sorted((stage, row["values"], row["counts"]) for row in reasons.value_counts().to_pylist())
    return found


def sample(found: Iterator[dict[str, Any]], most: int, seed: int = 0) -> tuple[list[dict[str, Any]], int]:
    """So many of them at random, by a hash of each id, the same each time; and how many there are."""
    best: list[tuple[bytes, dict[str, Any]]] = []
    count = 0
    for page in found:
        count += 1
        key = hashlib.blake2b(f"{seed} {page['id']} {page['stage']}".encode(), digest_size=8).digest()
        best.append((key, page))
        if len(best) > 4 * most + 100:
            best = sorted(best, key=lambda each: each[0])[:most]
    return [page for _, page in sorted(best, key=lambda each: each[0])[:most]], count


def with_texts(directory: Path, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, with the text of those that got one before they were dropped."""
    from pyarrow import compute

    missing = [page["id"] for page in found if page["text"] is None]
    texts: dict[str, str] = {}
    for path in sorted((directory / "pages").glob("*.parquet")) if missing else ():
        table = read_table(path, columns=["id", "text"])
        here = table.filter(compute.is_in(table["id"], value_set=compute.cast(missing, "string")))
        texts |= dict(zip(here["id"].to_pylist(), here["text"].to_pylist(), strict=True))
    return [{**page, "text": page["text"] if page["text"] is not None else texts.get(page["id"])} for page in found]


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}}
details{{border-top:1px solid #ddd;padding:.4rem 0}}summary{{cursor:pointer}}pre{{white-space:pre-wrap;
background:#f6f6f6;padding:.6rem}}b{{font-weight:600}}.why{{color:#666}}</style><h1>{title}</h1>{pages}</html>
"""


def as_html(title: str, found: Sequence[dict[str, Any]]) -> str:
    """One file that shows pages, with nothing of theirs in it that runs."""
    shown = []
    for page in found:
        why = " ".join(each for each in (page["stage"], page["reason"], page["evidence"] or "") if each)
        text = html.escape(page["text"] or "(no text)")
        shown.append(
            f"<details><summary><b>{html.escape(page['url'] or page['id'])}</b> "
            f"<span class=why>{html.escape(why)}</span></summary><pre>{text}</pre></details>"
        )
    return PAGE.format(title=html.escape(title), pages="\n".join(shown))
