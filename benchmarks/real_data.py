"""Public sets with labels of people or rules, as rows that Groupwise reads, split by question.

GSM8K and its sampled solutions (openai/grade-school-math), BIG-Bench Mistake (WHGTyen/BIG-Bench-Mistake) and MR-GSM8K
(dvlab-research/MR-GSM8K). DATA holds their files in folders gsm8k, big-bench-mistake and mr-gsm8k.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from groupwise import tasks
from groupwise.seeding import stable_seed
from groupwise.types import Example

MISTAKES = ("logical_deduction", "multistep_arithmetic", "tracking_shuffled_objects", "word_sorting")
GENERATORS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
ALIKE = 40  # characters of a story: MR-GSM8K asks one forwards, backwards and as a program; all begin the same way
HELD_OUT = 4  # one question in so many

Rows = list[Example]


@dataclass(frozen=True)
class Solution:
    """A sampled solution of a question, whether a rule finds it right, and which model wrote it."""

    example: Example
    right: bool
    generator: str


@dataclass(frozen=True)
class RealData:
    """Training rows, held-out rows, and the held-out questions with all their solutions."""

    language: Rows
    steps: tuple[Rows, Rows]
    pairs: tuple[Rows, Rows]
    solutions: tuple[list[list[Solution]], list[list[Solution]]]
    """By question; of train and held-out questions."""
    left_out: Mapping[str, int]
    """Rows that are not used, by reason."""


def read(data: Path, limit: int | None = None) -> RealData:
    """All sets, or the first ``limit`` rows of each file. Raises UserError for what does not follow its convention."""
    left_out: Counter[str] = Counter()
    sets = [data / "big-bench-mistake" / f"{name}.jsonl" for name in MISTAKES]
    traces = {path.stem: _labelled(path, limit) for path in sets}
    graded = _labelled(data / "mr-gsm8k" / "mr_gsm8k_subset.jsonl", limit)
    sides = [_split(rows) for rows in traces.values()]
    shown = [replace(row, completion="\n".join(row.columns["completions"])) for train, _ in sides for row in train]
    stories = tasks.from_file(data / "gsm8k" / "train.jsonl", held_out_fraction=0.0, limit=limit).train
    sides.append(_split(graded, ALIKE))
    asked = tasks.read_rows(data / "gsm8k" / "example_model_solutions.jsonl")[:limit]
    pairs: list[Example] = []
    solutions: dict[str, list[Solution]] = {}
    for id, row in asked:
        solutions[id] = [_solution(id, row, generator) for generator in GENERATORS]
        found = preferences(id, solutions[id])
        left_out["with four solutions that are all right or all wrong"] += not found
        pairs += found
    asked_sides = _split([found[0].example for found in solutions.values()], ALIKE)
    by_side = [[solutions[example.id.partition("/")[0]] for example in side] for side in asked_sides]
    steps = [row for train, _ in sides for row in train], [row for _, kept in sides for row in kept]
    return RealData([*stories, *shown], steps, _split(pairs, ALIKE), (by_side[0], by_side[1]), dict(left_out))


def preferences(id: str, solutions: Sequence[Solution]) -> list[Example]:
    """Every right solution of a question with every wrong one, as TRL's preference rows."""
    rows = [
        (
            f"{id}/{right.generator}>{wrong.generator}",
            {
                "prompt": right.example.prompt,
                "chosen": right.example.completion,
                "rejected": wrong.example.completion,
            },
        )
        for right in solutions
        for wrong in solutions
        if right.right and not wrong.right
    ]
    return tasks.examples(rows, tasks.recognise(rows)) if rows else []


def pieces(texts: Iterable[str], count: int) -> tuple[str, ...]:
    """The strings that save the most bytes: words with the space before them, and runs of signs."""
    seen = Counter(
        found for text in texts for found in re.findall(r" ?[A-Za-z]+|[^\sA-Za-z0-9]{2,}| [^\sA-Za-z0-9]", text)
    )
    saved = {word: times * (len(word.encode()) - 1) for word, times in seen.items() if times > 1}
    return tuple(sorted(sorted(saved), key=lambda word: -saved[word])[:count])


def text_of(row: Example) -> str:
    return f"{row.prompt}\n{row.completion or ''}"


def _labelled(path: Path, limit: int | None) -> Rows:
    rows = tasks.from_file(path, held_out_fraction=0.0, limit=limit).train
    return [replace(row, id=f"{path.stem}/{row.id.rpartition(':')[2]}") for row in rows]


def _solution(id: str, row: Mapping[str, Any], generator: str) -> Solution:
    said = row[generator]
    example = Example(f"{id}/{generator}", row["question"], completion=said["solution"])
    return Solution(example, bool(said["is_correct"]), generator)


def _split(rows: Sequence[Example], alike: int | None = None) -> tuple[Rows, Rows]:
    """``(train, held out)``: questions with the same first ``alike`` characters fall on one side, in every set."""
    sides: tuple[Rows, Rows] = ([], [])
    for row in rows:
        sides[stable_seed("held out", str(row.prompt)[:alike]) % HELD_OUT == 0].append(row)
    return sides
