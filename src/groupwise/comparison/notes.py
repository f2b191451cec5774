"""This module says what a reader must know of runs that are compared: which are not finished, which have no result at
their end, and which have numbers that are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from groupwise.comparison.settings import Setting
from groupwise.evaluation.evaluate import Evaluation
from groupwise.evaluation.moments import BEFORE, moment
from groupwise.values.finite import is_finite
from groupwise.view.curves import CURATED
from groupwise.view.run_files import RunFiles, stages_of

Row = Mapping[str, Any]


def evaluation_of(run: RunFiles, stage: str | None = None) -> Evaluation | None:
    """Returns the evaluation of the last model that the run left, or of the one that ``stage`` left; None where it was
    not evaluated. The model that a run began with is no result of it."""
    found = _evaluated(run)
    name = next(reversed(found), None) if stage is None else stage
    return found.get(name) if name else None


def notes_of_progress(settings: Sequence[Setting], last: Mapping[RunFiles, Row], stage: str | None) -> Iterator[str]:
    """Yields a line for each run that is not finished, and for each without an evaluation where it stands. ``last``: of
    each run its last step."""
    for run in (run for setting in settings for run in setting.runs):
        status, row = run.status(), last[run]
        steps = {one["name"]: one["steps"] for one in stages_of(run.record())}
        if status != "finished":
            at = f"{row['stage']} {row['step']}/{steps.get(row['stage'], '?')}"
            yield f"{run.directory}: is {status} at step {at}, so this is what it has so far"
        found = list(_evaluated(run))
        if stage is not None:
            if stage not in found:
                yield f"{run.directory}: has no evaluation {moment(stage)}"
        elif not found:
            yield f"{run.directory}: has no evaluation of a model that it left yet"
        elif found[-1] != next(reversed(steps), found[-1]):
            yield f"{run.directory}: its result is the one {moment(found[-1])}; its last stage has none yet"


def notes_of_numbers(rows: Mapping[RunFiles, Sequence[Row]]) -> Iterator[str]:
    """Yields a line for each run with metrics that were no numbers in the steps that are compared."""
    for run, own in rows.items():
        counts = {title: sum(name in row and not is_finite(row[name]) for row in own) for name, title, _, _ in CURATED}
        bad = {title: count for title, count in counts.items() if count}
        if bad:
            which = ", ".join(f"{title} in {count}" for title, count in bad.items())
            yield f"{run.directory}: of the {len(own)} steps that are compared, no finite number was: {which}"


def _evaluated(run: RunFiles) -> dict[str, Evaluation]:
    """Returns the evaluations of models that stages left, in their order; those that cannot be read are left out."""
    found = {}
    for one in run.evaluation()["models"]:
        if not one["stage"].startswith(BEFORE):
            try:
                found[one["stage"]] = Evaluation.from_json({"seconds": 0.0, **one["evaluation"]})
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
    return found
