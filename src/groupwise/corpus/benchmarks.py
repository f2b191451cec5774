"""This module reads the benchmarks that a corpus must not hold: by a name, from a folder of them, or from any file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.suite_table import SUITES, Suite

ANY = Suite("", (), (), ())
"""A benchmark that nobody described: it is looked for by its name."""
QUESTIONS = ("context", "body", "question", "problem", "prompt", "query", "instruction", "input", "text", "content")
"""Columns that together ask, in the order in which they are read."""
SOLUTIONS = ("answer", "solution", "completion", "output", "response", "canonical_solution", "code", "rationale")


@dataclass(frozen=True)
class Item:
    """An item is one question of a benchmark with what solves it."""

    benchmark: str
    number: int
    """Its row, counted from 0."""
    where: str
    """Its row as the file counts: ``test.jsonl:17``."""
    question: str
    solutions: tuple[str, ...] = ()


def read_benchmarks(against: Sequence[str], folder: str | Path | None = None) -> list[Item]:
    """All items of benchmarks: each a file, ``NAME=FILE``, or a name that ``folder`` has or else the hub.

    Raises UserError for a name that nobody knows, and for rows without text.
    """
    items: list[Item] = []
    for each in against:
        name, sources = _sources(each, folder)
        rows = [row for source in sources for row in SUITES.get(name, ANY).read(source)]
        items_of = [_item(name, number, where, row) for number, (where, row) in enumerate(rows)]
        found = [item for item in items_of if item is not None]
        if not found:
            raise UserError(f"{sources[0]}: no row has text to look for; expected columns such as question and answer")
        items += found
    return items


def _sources(spec: str, folder: str | Path | None) -> tuple[str, list[str]]:
    name, equals, file = spec.partition("=")
    if equals and not Path(spec).exists():
        if not name or not file:
            raise UserError(f"{spec}: expected a benchmark's name, a FILE, or NAME=FILE")
        return name, [file]
    if Path(spec).is_file():
        return _name(Path(spec)), [spec]
    if places := _places(spec, folder):
        return spec, places
    if spec in SUITES:
        return spec, [SUITES[spec].hub]
    if "/" in spec or Path(spec).suffix or Path(spec).is_dir():
        return _name(Path(spec)), [spec]
    near = next(iter(get_close_matches(spec, SUITES, n=1)), "")
    hint = f"perhaps you meant {near}" if near else f"expected a file, NAME=FILE, or one of {', '.join(SUITES)}"
    raise UserError(f"{spec}: no such benchmark; {hint}")


def _places(name: str, folder: str | Path | None) -> list[str]:
    if folder is None:
        return []
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of benchmarks; expected one that holds NAME/test.jsonl")
    return [str(path) for path in SUITES.get(name, ANY).places(name, root)]


def _name(path: Path) -> str:
    """``gsm8k`` of ``gsm8k/test.jsonl``, ``mine`` of ``mine.jsonl``."""
    stem = path.name.partition(".")[0]
    return path.parent.name if stem in ("test", "train", "validation", "dev") and path.parent.name else stem


def _item(benchmark: str, number: int, where: str, row: Mapping[str, Any]) -> Item | None:
    lower = {name.lower(): value for name, value in row.items()}
    question = "\n".join(text for name in QUESTIONS for text in texts_of(lower.get(name)))
    solutions = tuple(text for name in SOLUTIONS for text in texts_of(lower.get(name)))
    if not question:
        question = max(texts_of(row), key=len, default="")
    return Item(benchmark, number, where, question, solutions) if question.strip() else None


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a value, however deep it lies."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_of(each)
