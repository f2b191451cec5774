"""The way in: what docs/reading.md tells people to read is there, and short enough to be read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "groupwise"
ROWS = re.findall(r"^\| (\d) \| .*? \| (.*?) \| (.*?) \|$", (ROOT / "docs" / "reading.md").read_text(), re.MULTILINE)
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in ("answers.md", "adding-a-method.md"))
MADE_BY_READERS = re.compile(r"(train|run|my|your|recipe|reward|task|look|test|data)\w*\.py")


def definitions(path: Path) -> dict[str, int]:
    """Lines of every function and class of a file, by name: methods also by their class's."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node.end_lineno - node.lineno + 1  # type: ignore[operator]
        for inner in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(inner, ast.FunctionDef):
                found[f"{node.name}.{inner.name}"] = inner.end_lineno - inner.lineno + 1  # type: ignore[union-attr, operator]
    return found


def test_seven_stops_of_at_most_a_thousand_lines() -> None:
    assert [number for number, *_ in ROWS] == list("1234567")
    lines = 0
    for _, files, parts in ROWS:
        paths = [PACKAGE / name for name in re.findall(r"`([\w/]+\.py)`", files)]
        if parts == "all of it":
            lines += sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
            continue
        there = {name: size for path in paths for name, size in definitions(path).items()}
        lines += sum(there[name] for name in re.findall(r"`([\w.]+)`", parts))
    assert 400 < lines <= 1000
    assert f"about {round(lines, -2)} lines" in (ROOT / "docs" / "reading.md").read_text()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_a_file_that_a_page_names_is_there(page: Path) -> None:
    """As seen from the package, the checkout or a folder of it."""
    places = (
        PACKAGE,
        ROOT,
        ROOT / "benchmarks",
        ROOT / "tests",
        ROOT / "examples",
        ROOT / "docs",
        PACKAGE / "isolation",
    )
    text = page.read_text(encoding="utf-8")
    for name in sorted(set(re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)*\.(?:py|cpp|h))`", text))):
        if not MADE_BY_READERS.fullmatch(name):
            assert any((place / name).exists() for place in places), f"{page.name} names {name}"


def test_what_newcomers_look_for_is_two_clicks_from_the_readme() -> None:
    """Objective, KL, sampler, checkpoint and minus sign: on a page that the README links to."""
    assert "](docs/reading.md)" in (ROOT / "README.md").read_text()
    linked = re.findall(r"\]\(\.\./src/groupwise/(.*?)\)", (ROOT / "docs" / "reading.md").read_text())
    sought = "algorithm/objectives.py algorithm/kl.py engines/cpp.py runs/saver.py learners/backward.py"
    assert set(sought.split()) <= set(linked)
    assert all((PACKAGE / name).exists() for name in linked)


def test_every_file_that_is_marked_slow_is_there() -> None:
    listed = (ROOT / "tests" / "slow.txt").read_text().splitlines()
    assert [name for name in listed if name[:1] != "#" and not (ROOT / name).exists()] == []
