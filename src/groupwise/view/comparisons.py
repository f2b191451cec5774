"""This module sets runs side by side: what their recipes differ in, and how they answered the same prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from groupwise.view.about import headline
from groupwise.view.index import LedgerIndex
from groupwise.view.recipes import differing_parts
from groupwise.view.run_files import RunFiles

MOST_SHARED = 200
LONGEST_VALUE = 300


def recipes_apart(first: RunFiles, second: RunFiles) -> list[dict[str, str]]:
    """Returns every place where the recipes differ, and what each has there."""
    ours, theirs = (run.record().get("recipe") or {} for run in (first, second))
    return [
        {"place": place, "first": _short(here), "second": _short(there)}
        for place, here, there in differing_parts(ours, theirs, ("name",))
    ]


def shared_prompts(first: LedgerIndex, second: LedgerIndex, stages: Sequence[str]) -> list[str]:
    """Returns the examples that a stage of each run drew, in the order of the first."""
    ours, theirs = (_examples(index, stage) for index, stage in zip((first, second), stages, strict=True))
    known = set(theirs)
    return [name for name in ours if name in known][:MOST_SHARED]


def compared(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """Returns of each run its result, and the last value of every metric by stage."""
    found = []
    for run in runs:
        last: dict[str, dict[str, Any]] = {}
        for row in run.rows():
            numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
            last.setdefault(row["stage"], {}).update(numbers)
        found.append({"result": headline(run.evaluation()), "last": last})
    return found


def _examples(index: LedgerIndex, stage: str) -> list[str]:
    with index.lock:
        if not index.table.size or stage not in index.stages:
            return []
        table = index.table
        rows = table["alive"] & (table["stage"] == index.stages.index(stage))
        return [index.text_of("example", int(code)) or "" for code in np.unique(table["example"][rows])]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "–" if value is None else text
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
