"""This module reads the seed: pages of the crawl by their addresses, and texts from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from groupwise.corpus.addresses import as_prefix, below, normal_form
from groupwise.errors import UserError
from groupwise.tasks.files import read_rows

ALL_BELOW = "/*"


@dataclass(frozen=True)
class Seed:
    """A seed is what one has before the first round."""

    addresses: frozenset[str] = frozenset()
    """Normal forms of pages."""
    prefixes: tuple[str, ...] = ()
    """All pages below them."""
    texts: tuple[str, ...] = ()

    def holds(self, address: str) -> bool:
        """Says whether a page of the crawl is a part of it."""
        return address in self.addresses or any(below(address, prefix) for prefix in self.prefixes)


def read_seed(sources: Sequence[str]) -> Seed:
    """A seed from files: ``.txt`` holds an address a line, ``ADDRESS/*`` for all below it; others hold rows with
    ``text``, or with ``url`` alone. Raises UserError for what cannot be read."""
    addresses: set[str] = set()
    prefixes: list[str] = []
    texts: list[str] = []
    for source in sources:
        if source.lower().endswith(".txt"):
            for line, where in _lines(Path(source)):
                if line.endswith(ALL_BELOW):
                    prefixes.append(_normal(as_prefix, line.removesuffix(ALL_BELOW), where))
                else:
                    addresses.add(_normal(normal_form, line if "://" in line else f"https://{line}", where))
            continue
        for where, row in read_rows(source):
            text, url = row.get("text"), row.get("url")
            if isinstance(text, str) and text.strip():
                texts.append(text)
            elif isinstance(url, str) and url.strip():
                addresses.add(_normal(normal_form, url, where))
            else:
                raise UserError(f"{where}: columns {', '.join(row) or 'none'}; expected text or url")
    return Seed(frozenset(addresses), tuple(prefixes), tuple(texts))


def _lines(path: Path):  # type: ignore[no-untyped-def]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected addresses of seed pages, one a line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read: {error}") from None
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        if bare and not bare.startswith("#"):
            yield bare, f"{path}:{number}"


def _normal(make, text: str, where: str) -> str:  # type: ignore[no-untyped-def]
    try:
        return str(make(text))
    except ValueError as error:
        raise UserError(f"{where}: {text[:100]}: {error}; expected an address such as https://host/page") from None
