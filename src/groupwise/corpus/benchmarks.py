"""This module reads the benchmarks that a corpus must not hold: by a name, from a folder of them, or from any file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.files import read_rows

ON_THE_HUB = {
    "gsm8k": "openai/gsm8k/main:test",
    "cmath": "weitianwen/cmath:test",
    "math500": "HuggingFaceH4/MATH-500:test",
    "svamp": "ChilleD/SVAMP:test",
    "humaneval": "openai/openai_humaneval:test",
    "mbpp": "google-research-datasets/mbpp/full:test",
}
"""Where a benchmark's test questions are, where no folder has them."""
IN_A_FOLDER = ("test.jsonl", "test.parquet", "test.json", "test.csv")
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
        name, source = _source(each, folder)
        rows = [(where, _item(name, number, where, row)) for number, (where, row) in enumerate(read_rows(source))]
        found = [item for _, item in rows if item is not None]
        if not found:
            raise UserError(f"{source}: no row has text to look for; expected columns such as question and answer")
        items += found
    return items


def _source(spec: str, folder: str | Path | None) -> tuple[str, str]:
    name, equals, file = spec.partition("=")
    if equals and not Path(spec).exists():
        if not name or not file:
            raise UserError(f"{spec}: expected a benchmark's name, a FILE, or NAME=FILE")
        return name, file
    if Path(spec).is_file():
        return _name(Path(spec)), spec
    for place in _places(spec, folder):
        if place.is_file():
            return spec, str(place)
    if spec in ON_THE_HUB:
        return spec, ON_THE_HUB[spec]
    if "/" in spec or Path(spec).suffix or Path(spec).is_dir():
        return _name(Path(spec)), spec
    near = next(iter(get_close_matches(spec, ON_THE_HUB, n=1)), "")
    hint = f"perhaps you meant {near}" if near else f"expected a file, NAME=FILE, or one of {', '.join(ON_THE_HUB)}"
    raise UserError(f"{spec}: no such benchmark; {hint}")


def _places(name: str, folder: str | Path | None) -> list[Path]:
    if folder is None:
        return []
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of benchmarks; expected one that holds NAME/test.jsonl")
    return [root / name / file for file in IN_A_FOLDER] + [root / f"{name}.jsonl"]


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
