"""This module holds the benchmarks of the field as one table: where each lies, and which columns ask and answer.

docs/benchmarks.md describes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.tasks.files import Row, read_rows
from groupwise.tasks.golds import answer_of
from groupwise.tasks.shards import split_of
from groupwise.tasks.suite_prompts import Form
from groupwise.tasks.values import cell, shown
from groupwise.types import Example

TESTED_BY = ("tests", "test_list", "test_cases", "input_output", "test")
"""Columns of tests, the first of them that a row has."""
ENDINGS = (".jsonl", ".jsonl.gz", ".parquet", ".json", ".csv", ".tsv")


@dataclass(frozen=True)
class Suite:
    """A benchmark: where it lies, which columns ask and answer, and which reward says what is right."""

    hub: str
    """As ``read_rows`` takes it."""
    files: tuple[str, ...]
    """In a folder of data, the first that is there."""
    question: tuple[str, ...]
    """The column that asks, the first that a row has; all of them where ``joined``."""
    answer: tuple[str, ...]
    """The column that answers, the first that a row has; none: the row's tests do."""
    joined: bool = False
    """Whether all columns of the question are read, with a blank between."""
    reward: str = "math"
    form: Form | None = None
    """How it is asked, whatever form the others are asked in."""
    is_chinese: bool = False

    def rows(self, name: str, data: str | None) -> list[Example]:
        """Reads its questions. Raises UserError where they are not there, or a row lacks a column."""
        if data is None:
            return [self._example(name, *row) for row in self.read(self.hub)]
        files = self._files(name, data)
        places = {file: f"{file.parent.name}/" if len(files) > 1 else "" for file in files}
        return [self._example(name, places[file] + id, row) for file in files for id, row in self.read(file)]

    def read(self, source: str | Path) -> list[Row]:
        """Reads the rows of one file; a table of two columns without a header, as MGSM's is, gets one."""
        rows = read_rows(source)
        head = list(rows[0][1])
        if Path(source).suffix != ".tsv" or len(head) != 2 or len(self.answer) < 1 or self._asks(head):
            return rows
        names = (self.question[0], self.answer[0])
        values: list[list[Any]] = [head, *([row.get(column) for column in head] for _, row in rows)]
        return [
            (f"{Path(source).name}:{line}", dict(zip(names, row, strict=True))) for line, row in enumerate(values, 1)
        ]

    def _asks(self, columns: Sequence[str]) -> bool:
        return any(column.lower() in self.question for column in columns)

    def _files(self, name: str, data: str) -> list[Path]:
        if not Path(data).is_dir():
            raise UserError(f"--data {data}: no such folder; expected one that holds {' or '.join(self.files)}")
        found = self.places(name, data)
        if not found:
            raise UserError(
                f"--data {data}: holds no {name}; expected {' or '.join(self.files)} in it (or {name}/test with "
                f"another ending: {', '.join(ENDINGS)}; or the hub's own files in {name}), or no --data: the hub's"
            )
        return found

    def places(self, name: str, folder: str | Path) -> list[Path]:
        """Returns where it lies in a folder of benchmarks: one file, or all that the hub cuts it into (shards, MATH's
        subjects); none where it is not there."""
        root = Path(folder)
        plain = [f"{stem}{ending}" for stem in (f"{name}/test", name) for ending in ENDINGS]
        one = next((path for file in (*self.files, *plain) if (path := root / file).is_file()), None)
        if one is not None:
            return [one]
        dataset, _, split = self.hub.partition(":")
        _, repository, *config = dataset.split("/") if dataset else ("", name)
        for each in dict.fromkeys((name, repository)):
            for wanted in dict.fromkeys(("test", split)):
                if found := _of_split(root / each, wanted, *config):
                    return found
        return []

    def _example(self, name: str, id: str, row: Mapping[str, Any]) -> Example:
        asked = " ".join(_text(id, row, column) for column in self.columns_of(id, row))
        answer = self._answer(name, id, row) if self.answer else None
        if self.reward == "code" and not any(row.get(column) for column in TESTED_BY):
            raise UserError(f"{id}: no test; expected {' or '.join(TESTED_BY)}, by which {name} is judged")
        return Example(f"{name}/{id}", asked, answer=answer, columns=dict(row))

    def _answer(self, name: str, id: str, row: Mapping[str, Any]) -> str:
        lower = {column.lower(): column for column in reversed(list(row))}
        names = (column if column in row else lower.get(column.lower()) for column in self.answer)
        column = next((each for each in names if each is not None and row[each] is not None), None)
        if column is None:
            raise UserError(f"{id}: no column {' or '.join(self.answer)}; {name} has its answers there")
        answer = _final(answer_of(row[column], f"{id}: {column}"))
        if not answer:
            raise UserError(f"{id}: {column} has no answer in it; expected what is right")
        return answer

    def columns_of(self, id: str, row: Mapping[str, Any]) -> list[str]:
        """The columns of a row that ask its question. Raises UserError where it lacks one."""
        lower = {column.lower(): column for column in row}
        found = [lower[column] for column in self.question if column in lower]
        if not found or (self.joined and len(found) < len(self.question)):
            raise UserError(f"{id}: no column {' or '.join(self.question)}; seen: {', '.join(row)}")
        return found if self.joined else found[:1]


def _of_split(folder: Path, split: str, config: str = "") -> list[Path]:
    """Returns the files of a dataset that are of one split; of a config, where one is named, those in its folder, or in
    none of any config."""
    files = [
        path
        for path in sorted(folder.rglob("*") if folder.is_dir() else ())
        if path.name.lower().endswith(ENDINGS) and path.is_file() and split_of(path.relative_to(folder)) == split
    ]
    inside = {path: path.relative_to(folder).parts[:-1] for path in files}
    visible = [path for path in files if not any(part.startswith(".") for part in inside[path])]
    if not config:
        return visible
    named = [path for path in visible if config in inside[path]]
    return named or [path for path in visible if set(inside[path]) <= {"data", split}]


def _text(id: str, row: Mapping[str, Any], column: str) -> str:
    """What a column asks. Raises UserError where it is empty, or no text."""
    value = cell(id, row, column)
    if isinstance(value, bool | list | Mapping) or value is None or not str(value).strip():
        raise UserError(f"{id}: {column} is {shown(value)}; expected the text of a question")
    return str(value).strip()


def _final(answer: str) -> str:
    """What follows GSM8K's mark; of a whole number as a float the whole number; without ASDiv's unit in brackets."""
    answer = answer.rpartition("####")[2].strip()
    number, _, unit = answer.partition(" (")
    answer = number if unit.endswith(")") and number.replace(".", "").isdigit() else answer
    return answer[:-2] if answer.endswith(".0") and answer[:-2].lstrip("-").isdigit() else answer


CODE = Form("{question}")
TESTS = Form("{question}\n\nThe program has to pass these tests:\n\n{tests}\n")

SUITES = {
    "gsm8k": Suite("openai/gsm8k/main:test", ("gsm8k/test.jsonl",), ("question",), ("answer",)),
    "math": Suite("nlile/hendrycks-MATH-benchmark:test", ("math/test.jsonl",), ("problem",), ("answer", "solution")),
    "math500": Suite("HuggingFaceH4/MATH-500:test", ("math500/test.jsonl",), ("problem",), ("answer",)),
    "cmath": Suite("weitianwen/cmath:test", ("cmath/test.jsonl",), ("question",), ("golden",), is_chinese=True),
    "mgsm": Suite(
        "juletxara/mgsm/zh:test",
        ("mgsm/zh.jsonl", "mgsm/mgsm_zh.tsv", "mgsm/test.jsonl"),
        ("question",),
        ("answer_number", "answer"),
        is_chinese=True,
    ),
    **{
        f"mgsm_{code}": Suite(
            f"juletxara/mgsm/{code}:test",
            (f"mgsm/{code}.jsonl", f"mgsm/mgsm_{code}.tsv", f"mgsm_{code}/test.jsonl"),
            ("question",),
            ("answer_number", "answer"),
            is_chinese=code == "zh",
        )
        for code in ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
    },
    "svamp": Suite(
        "ChilleD/SVAMP:test", ("svamp/SVAMP.json", "svamp/test.jsonl"), ("body", "question"), ("Answer",), joined=True
    ),
    "gsm_hard": Suite(
        "reasoning-machines/gsm-hard:train", ("gsm_hard/test.jsonl", "gsm_hard/train.jsonl"), ("input",), ("target",)
    ),
    "asdiv": Suite(
        "EleutherAI/asdiv:validation", ("asdiv/test.jsonl",), ("body", "question"), ("answer",), joined=True
    ),
    "aime": Suite("HuggingFaceH4/aime_2024:train", ("aime/test.jsonl",), ("problem", "question"), ("answer",)),
    "humaneval": Suite(
        "openai/openai_humaneval:test",
        ("code/humaneval-python.jsonl", "humaneval/test.jsonl"),
        ("prompt",),
        (),
        reward="code",
        form=CODE,
    ),
    "mbpp": Suite(
        "google-research-datasets/mbpp/full:test",
        ("code/mbpp.jsonl", "mbpp/test.jsonl"),
        ("text", "prompt"),
        (),
        reward="code",
        form=TESTS,
    ),
}
"""The benchmarks by name."""
