"""This module writes a comparison as lines of a terminal, and as plain data for JSON and the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groupwise.comparison.tables import Comparison, Number, Row
from groupwise.evaluation.statistics import Interval

Table = tuple[str, list[str], list[list[str]]]
"""A title, the heads of the columns, and rows of cells."""


def tables(found: Comparison) -> list[Table]:
    """Returns every table of a comparison, without those that are empty."""
    names = [setting.title for setting in found.settings]
    heads = ["", *names, *(_against(found, at) for at in range(1, len(names)))]
    stages = ", ".join(dict.fromkeys(found.stages))
    end = f"after {found.of_stage}" if found.of_stage else "at the end of each run"
    made: list[Table] = [
        (f"Held-out, {end}", heads, _rows(found.results, _share)),
        (f"Training at {number(found.budget)} {found.axis} of {stages}", heads, _rows(found.metrics, number)),
        (f"What each run has had in {stages}", heads, _rows(found.totals, number)),
    ]
    for setting, places in zip(found.settings[1:], found.recipes, strict=True):
        first = found.settings[0].name
        made.append(("Where the recipes differ", ["", first, setting.name], [list(place) for place in places]))
    return [table for table in made if table[2]]


def remarks(found: Comparison) -> list[str]:
    """Returns what must be known to read the numbers."""
    seeds = [len(setting.runs) for setting in found.settings]
    said = ["[low, high] are 95 % intervals"]
    if max(seeds) > 1:
        said[0] += f": Student's t over {' and '.join(map(str, dict.fromkeys(n for n in seeds if n > 1)))} seeds"
    if min(seeds) == 1:
        said.append(
            "where a setting has one run, its interval is over problems alone, and a number of training has none; "
            "runs of the same recipe with other seeds (--seed 1, --seed 2) say how much is chance"
        )
    repeats = [s.title for s, places in zip(found.settings[1:], found.recipes, strict=True) if not places]
    if repeats:
        said.append(
            f"{', '.join(repeats)}: recipe and seed are those of {found.settings[0].title}, so these are no seeds of "
            "one setting; what differs is the machine, its rounding, or the code"
        )
    if len(found.settings) == 1:
        said.append("the runs differ in their seeds alone: they are one setting")
    return [*said, *found.notes]


def plain(found: Comparison) -> dict[str, Any]:
    """Returns the comparison as JSON has it."""
    return {
        "settings": [
            {"name": s.name, "runs": [str(run.directory) for run in s.runs], "seeds": list(s.seeds)}
            for s in found.settings
        ],
        "axis": found.axis,
        "budget": found.budget,
        "stages": list(found.stages),
        "results": [_plain_row(row) for row in found.results],
        "metrics": [_plain_row(row) for row in found.metrics],
        "totals": [_plain_row(row) for row in found.totals],
        "recipes": [[dict(zip(("place", "first", "other"), place, strict=True)) for place in p] for p in found.recipes],
        "notes": remarks(found),
    }


def number(value: float) -> str:
    """Returns four digits that count; large whole numbers with commas."""
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _against(found: Comparison, at: int) -> str:
    return "difference" if len(found.settings) == 2 else f"{found.settings[at].name} - {found.settings[0].name}"


def _rows(rows: Sequence[Row], form: Any) -> list[list[str]]:
    return [
        [row.name, *(_told(v, form) for v in row.values), *(_told(d, form, signed=True) for d in row.differences)]
        for row in rows
    ]


def _told(value: Number, form: Any, signed: bool = False) -> str:
    def one(part: float) -> str:
        text: str = form(part)
        return f"+{text}" if signed and part >= 0 else text

    if value is None:
        return "–"
    if isinstance(value, Interval):
        return f"{one(value.value)} [{one(value.low)}, {one(value.high)}]"
    return one(value)


def _plain_row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "values": list(map(_plain, row.values)),
        "differences": list(map(_plain, row.differences)),
    }


def _plain(value: Number) -> Any:
    return {"value": value.value, "low": value.low, "high": value.high} if isinstance(value, Interval) else value
