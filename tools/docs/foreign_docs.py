"""Writes docs/from-trl.md, docs/from-verl.md and docs/from-openrlhf.md from the table of foreign names. ``make docs``.

.venv/bin/python tools/docs/foreign_docs.py            # writes what has changed
.venv/bin/python tools/docs/foreign_docs.py --check    # writes nothing; 1, and names, where something would change
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from foreign_scripts import PAGES, Page
from method_text import cell, filled, plain, table

from groupwise.foreign import TABLE, VALUES, Entry
from groupwise.foreign.convert import convert
from groupwise.foreign.reading import read

ROOT = Path(__file__).resolve().parents[2]
HEAD = "<!-- Written by `make docs` from src/groupwise/foreign: change that, not this. -->"


def main(arguments: list[str]) -> int:
    """Exit status."""
    wanted = pages()
    different = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in different:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is not what the table says: run make docs")
        else:
            path.write_text(wanted[path], encoding="utf-8")
    if "--check" in arguments:
        return int(bool(different))
    print(f"{len(wanted)} pages of other systems' names: {len(different)} written")
    return 0


def pages() -> dict[Path, str]:
    """Every page by its path."""
    return {ROOT / "docs" / name: _page(page) for name, page in PAGES.items()}


def _page(page: Page) -> str:
    differences = "\n".join(filled(f"* {each}", "  ") for each in page.differences)
    parts = [HEAD, f"# {page.title}", filled(page.about), *_worked(page)]
    parts += ["## What is counted differently", differences]
    for system in page.systems:
        parts += _tables(system)
    return "\n\n".join(parts) + "\n"


def _worked(page: Page) -> list[str]:
    """The script, and the recipe that ``groupwise convert`` makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / page.file
        path.write_text(page.script, encoding="utf-8")
        found = convert(read([str(path)]), f"{path.stem}_groupwise", page.file)
    told = [*(f"assumed: {line}" for line in found.assumed), *(f"no place: {line}" for line in found.unplaced)]
    told += [f"not read: {line}" for line in found.unread]
    return [
        "## The same training, there and here",
        f"`{page.file}`:",
        f"```{page.language}\n{page.script.strip()}\n```",
        f"`groupwise convert {page.file}` runs nothing of it, writes `{path.stem}_groupwise.py` and says:",
        "```text\n" + "\n".join(told) + "\n```",
        f"The recipe, which `groupwise run {path.stem}_groupwise.py` trains:",
        f"```python\n{found.text.strip()}\n```",
    ]


def _tables(system: str) -> list[str]:
    """A heading and a table for each topic, then the values that choose a formula."""
    rows = [entry for entry in TABLE if entry.system == system]
    parts = []
    for topic in dict.fromkeys(entry.topic for entry in rows):
        heading = f"{system}: {topic[0].lower()}{topic[1:]}" if topic != "FastLanguageModel" else f"{system}: {topic}"
        parts += [f"## {heading}", _table([entry for entry in rows if entry.topic == topic], system)]
    values = [entry for entry in VALUES if entry.system == system]
    if values:
        about = "Values that choose a formula, and the slots of an algorithm that have it (`groupwise.algorithm`)."
        parts += [f"## {system}: values", about, _table(values, system)]
    return parts


def _table(rows: list[Entry], system: str) -> str:
    lines = [[_names(row), _ours(row), plain(row.words) or "the same value"] for row in rows]
    return table([system, "here", "how"], lines)


def _names(row: Entry) -> str:
    shown = [name if row.value is None else f"{name}={row.value}" for name in row.names]
    return ", ".join(cell(name) for name in shown) + (f" ({row.of})" if row.of else "")


def _ours(row: Entry) -> str:
    return ", ".join(cell(option) for option in row.options) or (cell(row.ours) if row.ours else "no place")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
