"""This module is the second stage of a corpus: pages that are no copies of others, and a table of the copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from groupwise.corpus.containment import Samples
from groupwise.corpus.duplicates import Comparison, MinHash, Texts, samples_of
from groupwise.corpus.shards import Ledger, finish, finished, read_parts, write_rows
from groupwise.corpus.tables import read_table

if TYPE_CHECKING:
    import pyarrow

COPIES = "copies.parquet"
"""Addresses of pages that were dropped, and of the page that each is a copy of."""
UNIQUE = ("row", "id", "url", "address", "domain", "characters")


def deduplicate(directory: Path, names: Sequence[str], minhash: MinHash) -> None:
    """Writes ``unique/NAME.parquet``, a row for each page that is kept, and what was dropped."""
    done = directory / "unique"
    if finished(done, "all"):
        return
    columns = ("id", "url", "address", "domain", "text")
    tables = {name: _without_texts(read_parts(directory / "pages", name, columns)) for name in names}
    sizes = [tables[name].num_rows for name in names]
    signed = numpy.concatenate([numpy.load(done / f"{name}.npy") for name in names])
    addresses = [address for name in names for address in tables[name]["address"].to_pylist()]
    urls = [url for name in names for url in tables[name]["url"].to_pylist()]
    samples = _samples([samples_of(done / f"{name}.npy") for name in names], sizes)
    copies = iter(Comparison(minhash, addresses, signed, samples, Texts(directory, names, sizes, minhash)).copies())
    counts: dict[str, Any] = {}
    also: list[dict[str, str]] = []
    for name in names:
        ledger, rows = Ledger("unique"), []
        for row, page in enumerate(tables[name].to_pylist()):
            copy = next(copies)
            if copy is None:
                rows.append({**page, "row": row})
                ledger.keep()
            else:
                evidence = f"of {urls[copy.of]}" + (f": {copy.evidence}" if copy.evidence else "")
                ledger.drop(page["id"], page["url"], copy.reason, evidence)
                if copy.whole:
                    also.append({"address": page["address"], "of": addresses[copy.of]})
        write_rows(done / f"{name}.parquet", rows, UNIQUE)
        ledger.write(directory / "dropped", name)
        counts[name] = ledger.to_json()
    write_rows(directory / COPIES, also, ("address", "of"))
    finish(done, "all", counts)


def _samples(paths: Sequence[Path], sizes: Sequence[int]) -> Samples:
    """The sampled runs of all archives, their pages numbered through."""
    tables = [numpy.load(path) for path in paths]
    starts = numpy.cumsum([0, *sizes])
    pages = [table[:, 0].astype(numpy.int64) + start for table, start in zip(tables, starts, strict=False)]
    return Samples(numpy.concatenate(pages), numpy.concatenate([table[:, 1] for table in tables]))


def _without_texts(table: pyarrow.Table) -> pyarrow.Table:
    import pyarrow.compute as compute

    lengths = compute.cast(compute.utf8_length(table["text"]), "int64")
    return table.drop_columns(["text"]).append_column("characters", lengths)


@dataclass(frozen=True)
class Pages:
    """These are the unique pages of a corpus, without their texts: parallel columns."""

    directory: Path
    names: tuple[str, ...]
    starts: tuple[int, ...]
    """Where each archive's pages begin, and the number of all."""
    addresses: tuple[str, ...]
    domains: tuple[str, ...]
    characters: numpy.ndarray
    copies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By address: other addresses of copies of that page."""

    @classmethod
    def read(cls, directory: Path, names: Sequence[str]) -> Pages:
        """Reads the pages that ``deduplicate`` wrote, all archives of ``names`` in their order."""
        tables = [read_table(directory / "unique" / f"{name}.parquet") for name in names]
        starts = numpy.cumsum([0, *(table.num_rows for table in tables)])
        return cls(
            directory,
            tuple(names),
            tuple(starts.tolist()),
            tuple(each for table in tables for each in table["address"].to_pylist()),
            tuple(each for table in tables for each in table["domain"].to_pylist()),
            numpy.array([each for table in tables for each in table["characters"].to_pylist()], numpy.int64),
            _copies(directory / COPIES),
        )

    def names_of(self, place: int) -> tuple[str, ...]:
        """Returns the addresses at which a page was found, its own first."""
        address = self.addresses[place]
        return (address, *self.copies.get(address, ()))

    def __len__(self) -> int:
        return len(self.addresses)

    def texts(self, places: Sequence[int]) -> list[str]:
        """The texts of some pages, by their places; the archives are read one after the other."""
        found: dict[int, str] = {}
        wanted = numpy.array(sorted(places), numpy.int64)
        for number, name in enumerate(self.names):
            here = wanted[(wanted >= self.starts[number]) & (wanted < self.starts[number + 1])]
            if len(here):
                texts = unique_texts(self.directory, name)
                found |= {int(place): texts[int(place) - self.starts[number]].as_py() for place in here}
        return [found[place] for place in places]


def _copies(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in read_table(path).to_pylist():
        if row["address"] != row["of"]:
            found.setdefault(row["of"], []).append(row["address"])
    return found


def unique_texts(directory: Path, name: str):  # type: ignore[no-untyped-def]
    """Returns the texts of one archive's unique pages."""
    return unique_table(directory, name, ["text"])["text"]


def unique_table(directory: Path, name: str, columns: Sequence[str]) -> pyarrow.Table:
    """Returns columns of one archive's unique pages."""
    rows = read_table(directory / "unique" / f"{name}.parquet", columns=["row"])["row"]
    return read_parts(directory / "pages", name, columns).take(rows)
