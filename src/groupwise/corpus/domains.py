"""This module finds the domains of which much was collected, and the prefixes by which a person can judge them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy

from groupwise.corpus.addresses import prefixes
from groupwise.corpus.shards import write_rows
from groupwise.corpus.tables import read_table

if TYPE_CHECKING:
    from groupwise.corpus.unique import Pages

COLUMNS = ("domain", "prefix", "depth", "pages", "collected", "share")


@dataclass(frozen=True)
class Domains:
    """This value says which domains a person is asked about, and by which prefixes."""

    share: Annotated[float, "[0, 1]"] = 0.10
    """More than so much of a domain's pages was collected."""
    deepest: Annotated[int, "[0, inf)"] = 3
    """Folders of the longest prefix."""
    pages: Annotated[int, "[1, inf)"] = 2
    """Of a domain that is asked about, and of a prefix, at least."""


def domain_rows(pages: Pages, collected: numpy.ndarray, domains: Domains) -> list[dict[str, Any]]:
    """A row for each domain of which more than its share was collected, and for each of its prefixes."""
    all_of, mine = Counter(pages.domains), Counter(pages.domains[place] for place in numpy.flatnonzero(collected))
    named = {name for name, count in all_of.items() if count >= domains.pages and mine[name] > domains.share * count}
    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for place, (domain, address) in enumerate(zip(pages.domains, pages.addresses, strict=True)):
        if domain in named:
            for prefix in prefixes(address, domains.deepest):
                cell = counts[domain][prefix]
                cell[0] += 1
                cell[1] += bool(collected[place])
    rows = []
    for domain in sorted(named, key=lambda name: (-mine[name], name)):
        for prefix, (count, taken) in sorted(_telling(counts[domain], domains.pages).items()):
            rows.append(
                {
                    "domain": domain,
                    "prefix": prefix,
                    "depth": prefix.count("/"),
                    "pages": count,
                    "collected": taken,
                    "share": taken / count,
                }
            )
    return rows


def _telling(counts: dict[str, list[int]], least: int) -> dict[str, list[int]]:
    """Without prefixes that hold the same pages as a longer one, and without those of few pages."""
    whole = {prefix.rpartition("/")[0] for prefix in counts if counts[prefix][0] == _above(counts, prefix)}
    return {prefix: count for prefix, count in counts.items() if count[0] >= least and prefix not in whole}


def _above(counts: dict[str, list[int]], prefix: str) -> int:
    """Pages of the prefix that is one folder shorter."""
    return counts.get(prefix.rpartition("/")[0], [0])[0]


def write_domains(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes the table of domains as a parquet file, whole or not at all."""
    write_rows(path, rows, COLUMNS)


def read_domains(path: Path) -> list[dict[str, Any]]:
    """Reads the rows that ``write_domains`` wrote."""
    return list(read_table(path).to_pylist())
