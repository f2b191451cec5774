"""This module reads and writes what a person says of addresses: prefixes, each wanted or not, in a file of TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from groupwise.corpus.addresses import as_prefix, below
from groupwise.errors import UserError
from groupwise.storage.atomic import write_atomically

WANTED, OTHER, OPEN = "wanted", "other", ""
HEAD = """# Of these domains much was collected. Say of each prefix whether its pages are wanted: "wanted" or "other".
# The longest prefix of a page decides; what is left "" is not used. The same build command then goes on.

[prefixes]
"""


@dataclass(frozen=True)
class Annotations:
    """These annotations say which pages are wanted, by prefix."""

    verdicts: Mapping[str, str]

    def verdict(self, address: str) -> str:
        """Of the longest prefix of an address that is answered; empty where none is."""
        best = max((each for each in self.verdicts if below(address, each)), key=len, default=None)
        return self.verdicts[best] if best is not None else OPEN

    @property
    def answered(self) -> dict[str, str]:
        """Returns the prefixes that have an answer."""
        return {prefix: verdict for prefix, verdict in sorted(self.verdicts.items()) if verdict}


def read_annotations(path: Path | None, more: Sequence[str] = ()) -> Annotations:
    """The annotations of a file, where it is there, and of ``PREFIX`` or ``PREFIX=other`` on the command line."""
    found: dict[str, str] = {}
    if path is not None and path.exists():
        for prefix, verdict in _table(path).items():
            if verdict not in (WANTED, OTHER, OPEN):
                raise UserError(f'{path}: "{prefix}" = {json.dumps(verdict)}; expected "wanted", "other" or ""')
            found[_prefix(prefix, str(path))] = verdict
    for each in more:
        prefix, _, verdict = each.rpartition("=") if each.endswith((f"={WANTED}", f"={OTHER}")) else (each, "", WANTED)
        found[_prefix(prefix, "--annotate")] = verdict
    return Annotations({prefix: verdict for prefix, verdict in found.items() if verdict})


def write_annotations(path: Path, prefixes: Mapping[str, str], answered: Mapping[str, str]) -> None:
    """Writes a file to fill in: prefixes with what is known of each, and the answers that are there already."""
    lines = []
    for prefix in sorted({*prefixes, *answered}):
        said = f"  # {prefixes[prefix]}" if prefixes.get(prefix) else ""
        lines.append(f"{json.dumps(prefix, ensure_ascii=False)} = {json.dumps(answered.get(prefix, OPEN))}{said}\n")
    write_atomically(path, HEAD + "".join(lines))


def _table(path: Path) -> Mapping[str, object]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("prefixes", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: can't be read: {error}") from None
    if not isinstance(table, dict):
        raise UserError(f'{path}: prefixes is no table; expected lines such as "openstax.org/books/x" = "wanted"')
    return table


def _prefix(text: str, where: str) -> str:
    try:
        return as_prefix(text.removesuffix("/*"))
    except ValueError as error:
        raise UserError(f"{where}: {text[:100]}: {error}; expected a prefix such as openstax.org/books/x") from None
