"""Writes docs/methods: a page and a picture for every recipe, and the index. ``make docs``.

.venv/bin/python tools/docs/method_docs.py            # writes what has changed, removes what has no recipe any more
.venv/bin/python tools/docs/method_docs.py --check    # writes nothing; 1, and names, where something would change
"""

from __future__ import annotations

import sys
from pathlib import Path

from method_code import ROOT
from method_index import index
from method_page import FOLDER, page, read

from groupwise import recipes


def main(arguments: list[str]) -> int:
    """Exit status."""
    wanted = pages()
    stale = {path for path in [*FOLDER.glob("*.md"), *FOLDER.glob("plots/*.svg")] if path not in wanted}
    different = {path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text}
    if "--check" in arguments:
        for path in sorted(stale | different):
            print(f"{path.relative_to(ROOT)} is not what the code says: run make docs")
        return int(bool(stale | different))
    for path in stale:
        path.unlink()
    for path in different:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    print(f"{len(wanted)} files in {FOLDER.relative_to(ROOT)}: {len(different)} written, {len(stale)} removed")
    return 0


def pages() -> dict[Path, str]:
    """Every file of the folder by its path."""
    found = [read(name) for name in recipes.__all__]
    wanted = {FOLDER / "README.md": index(found)}
    for recipe in found:
        wanted |= page(recipe, recipes.__all__)
    return wanted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
