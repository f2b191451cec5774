"""This module says of a run what stands above its curves: how far it has come, how fast it is, what it found."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from groupwise.evaluation.moments import moment
from groupwise.view.facts import facts
from groupwise.view.run_files import RunFiles, stages_of

Row = Mapping[str, Any]
RECENT = 20  # steps


def about(run: RunFiles) -> dict[str, Any]:
    """Returns what is known of the run now."""
    record, rows = run.record(), run.rows()
    stages, status = stages_of(record), run.status()
    done = {row["stage"]: max(row["step"], 0) for row in rows}
    parts = [
        {"name": one["name"], "steps": int(one.get("steps") or 0), "done": done.get(one["name"], 0)} for one in stages
    ]
    recent = [row for row in rows[-RECENT:] if row["stage"] == rows[-1]["stage"]] if rows else []
    seconds = [row["step_time"] for row in recent if isinstance(row.get("step_time"), int | float)]
    pace = median(seconds) if seconds else None
    current = next((part for part in parts if rows and part["name"] == rows[-1]["stage"]), None)
    left = pace * (current["steps"] - current["done"]) if pace and current and status == "running" else None
    recipe = record.get("recipe") or {}
    return {
        "name": str(record.get("name") or run.directory.name),
        "directory": str(run.directory),
        "status": status,
        "started": record.get("started"),
        "seconds": record.get("seconds"),
        "written": rows[-1].get("time_seconds") if rows else None,
        "now": time.time(),
        "stages": parts,
        "pace": pace,
        "speed": _speed(recent),
        "left": left,
        "resumed": [one for one in record.get("resumed") or () if isinstance(one, dict)],
        "changes": [one for one in record.get("changes") or () if isinstance(one, dict)],
        "facts": facts(run.directory, record),
        "alarms": run.alarms(),
        "result": headline(run.evaluation()),
        "recipe": json.dumps(recipe, indent=2, ensure_ascii=False)[:200_000],
    }


def headline(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns what the evaluations say in one line; None where there is none."""
    models = evaluation.get("models") or ()
    if not models:
        return None
    first, last = models[0], models[-1]
    difference = (evaluation.get("comparison") or {}).get("pass_at_1") if len(models) > 1 else None
    return {
        "measure": "pass@1",
        "before": _measure(first["evaluation"]["pass_at_1"]),
        "after": _measure(last["evaluation"]["pass_at_1"]),
        "moments": [moment(first["stage"]), moment(last["stage"])],
        "problems": last["evaluation"]["problems"],
        "judge": last["evaluation"].get("judge") or "",
        "difference": difference and _measure(difference),
        "only": len(models) == 1,
    }


def _measure(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values.get(name) for name in ("value", "low", "high")}


def _speed(rows: Sequence[Row]) -> dict[str, float]:
    """Returns tokens a second of sampling and of training, the median of some recent steps."""
    found = {}
    for kind in ("sample", "train"):
        values = [row[name] for row in rows if isinstance(row.get(name := f"tokens_per_second/{kind}"), int | float)]
        if values:
            found[kind] = median(values)
    return found
