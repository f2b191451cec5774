"""This module makes the numbers of a comparison: held-out results at the end of each run, training metrics at an equal
budget, and differences from the first setting with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from groupwise.comparison.notes import evaluation_of, notes_of_numbers, notes_of_progress
from groupwise.comparison.settings import Setting, recipe_differences
from groupwise.errors import UserError
from groupwise.evaluation.comparison import compare
from groupwise.evaluation.evaluate import Evaluation
from groupwise.evaluation.measure import Measure
from groupwise.evaluation.seeds import difference_over_seeds, mean_over_seeds
from groupwise.evaluation.statistics import Interval, paired_difference
from groupwise.values.finite import is_finite
from groupwise.view.curves import CURATED, with_axes
from groupwise.view.run_files import RunFiles

AXES = {"steps": "axis:step", "samples": "axis:samples", "tokens": "axis:tokens", "seconds": "axis:seconds"}
RECENT = 0.1
"""Of a budget: a metric is its mean over the steps of the last tenth."""
UNITS = {
    "kl": "nats a token",
    "entropy": "nats a token",
    "completions/mean_length": "tokens",
    "engine_learner_gap": "nats",
    "staleness/mean": "updates",
}
Number = Interval | float | None


@dataclass(frozen=True)
class Row:
    """A row is one measure: what each setting has of it, and each other's difference from the first."""

    name: str
    values: tuple[Number, ...]
    differences: tuple[Number, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A comparison is everything that is said of some settings."""

    settings: tuple[Setting, ...]
    axis: str
    budget: float
    """Of the axis: what the run that went least far has."""
    stages: tuple[str, ...]
    """Of each setting, the stage whose steps are compared."""
    results: tuple[Row, ...]
    metrics: tuple[Row, ...]
    totals: tuple[Row, ...]
    recipes: tuple[tuple[tuple[str, str, str], ...], ...]
    """Of each setting but the first."""
    notes: tuple[str, ...] = ()
    of_stage: str | None = None
    """The stage that was asked for; None: the end of each run."""


def compare_runs(settings: Sequence[Setting], axis: str = "samples", stage: str | None = None) -> Comparison:
    """Compares settings over ``axis``. ``stage`` None: the last of each run that has made steps.

    Raises UserError for an axis that is none, and where a run has no step of the stage, or none that the axis counts.
    """
    if axis not in AXES:
        raise UserError(f"axis is {axis}; expected one of {', '.join(AXES)}")
    rows = [[_rows(run, axis, stage) for run in setting.runs] for setting in settings]
    budget = min(_reach(own, axis) for runs in rows for own in runs)
    cut = [[[row for row in own if (row[AXES[axis]] or 0) <= budget] for own in runs] for runs in rows]
    results, unlike = _results(settings, stage)
    return Comparison(
        settings=tuple(settings),
        axis=axis,
        budget=budget,
        stages=tuple(runs[0][-1]["stage"] for runs in rows),
        results=tuple(results),
        metrics=tuple(_metrics(settings, cut, axis, budget)),
        totals=tuple(_totals(settings, rows)),
        recipes=tuple(tuple(recipe_differences(settings[0], other)) for other in settings[1:]),
        notes=(
            *notes_of_progress(settings, {run: own[-1] for run, own in _by_run(settings, rows)}, stage),
            *unlike,
            *notes_of_numbers({run: _late(own, axis, budget) for run, own in _by_run(settings, cut)}),
        ),
        of_stage=stage,
    )


def _by_run(settings: Sequence[Setting], rows: Sequence[Sequence[Any]]) -> Iterator[tuple[RunFiles, Any]]:
    for setting, runs in zip(settings, rows, strict=True):
        yield from zip(setting.runs, runs, strict=True)


def _rows(run: RunFiles, axis: str, stage: str | None) -> list[dict[str, Any]]:
    found = with_axes(run.rows(), run.record())
    if not found:
        raise UserError(f"{run.directory}: the run has made no step yet, so there is nothing to compare")
    known = list(dict.fromkeys(row["stage"] for row in found))
    wanted = known[-1] if stage is None else stage
    if wanted not in known:
        raise UserError(f"{run.directory}: has no step of a stage {wanted}; there are {', '.join(known)}")
    kept = [row for row in found if row["stage"] == wanted]
    if not _reach(kept, axis):
        others = ", ".join(name for name in AXES if _reach(kept, name))
        raise UserError(f"{run.directory}: no step of {wanted} says how many {axis} it took; expected --axis {others}")
    return kept


def _reach(rows: Sequence[Mapping[str, Any]], axis: str) -> float:
    known = [row[AXES[axis]] for row in rows if row[AXES[axis]] is not None]
    return float(max(known)) if known else 0.0


def _metrics(settings: Sequence[Setting], rows: Sequence[Sequence[Any]], axis: str, budget: float) -> list[Row]:
    made = []
    for name, title, _, _ in CURATED:
        values = [[_recent(own, name, axis, budget) for own in runs] for runs in rows]
        if any(value is not None for runs in values for value in runs):
            made.append(_row(f"{title}, {UNITS[name]}" if name in UNITS else title, settings, values))
    return made


def _recent(rows: Sequence[Mapping[str, Any]], name: str, axis: str, budget: float) -> float | None:
    """Returns the mean of the last tenth of the budget; of what is measured now and then, the last. None where it was
    measured and was no number: an older one would hide that."""
    known = [row[name] for row in rows if name in row]
    late = known[-1:] if name.startswith("eval/") else [row[name] for row in _late(rows, axis, budget) if name in row]
    numbers = [float(value) for value in late or known[-1:] if is_finite(value)]
    return fmean(numbers) if numbers else None


def _late(rows: Sequence[Mapping[str, Any]], axis: str, budget: float) -> list[Mapping[str, Any]]:
    """Returns the rows of the last tenth of the budget."""
    return [row for row in rows if (row[AXES[axis]] or 0) > (1 - RECENT) * budget]


def _totals(settings: Sequence[Setting], rows: Sequence[Sequence[Any]]) -> list[Row]:
    found = [(axis, [[_reach(own, axis) for own in runs] for runs in rows]) for axis in AXES]
    return [_row(axis, settings, values) for axis, values in found if any(value for runs in values for value in runs)]


def _row(name: str, settings: Sequence[Setting], values: Sequence[Sequence[float | None]]) -> Row:
    told = tuple(_mean(own) for own in values)
    return Row(
        name,
        told,
        tuple(_difference(settings[0], values[0], s, v) for s, v in zip(settings[1:], values[1:], strict=True)),
    )


def _mean(values: Sequence[float | None]) -> Number:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return mean_over_seeds(known) if len(known) > 1 else known[0]


def _difference(first: Setting, ours: Sequence[float | None], other: Setting, theirs: Sequence[float | None]) -> Number:
    before, after = ([value for value in side if value is not None] for side in (ours, theirs))
    if not before or not after:
        return None
    if min(len(before), len(after)) < 2:
        return fmean(after) - fmean(before)
    whole = len(before) == len(first.runs) and len(after) == len(other.runs)
    if (
        whole
        and sorted(map(str, first.seeds)) == sorted(map(str, other.seeds))
        and len(set(first.seeds)) == len(before)
    ):
        of_seed = dict(zip(other.seeds, after, strict=True))
        return difference_over_seeds(before, [of_seed[seed] for seed in first.seeds], paired=True)
    return difference_over_seeds(before, after, paired=False)


def _results(settings: Sequence[Setting], stage: str | None) -> tuple[list[Row], list[str]]:
    """Returns the held-out results of the last model that each run has evaluated, or of the one that ``stage`` left,
    and why they are not subtracted, where they are not."""
    found = [[evaluation_of(run, stage) for run in setting.runs] for setting in settings]
    first = next((each for runs in found for each in runs if each), None)
    if first is None:
        return [], []
    unlike = sorted({why for runs in found for each in runs if each and (why := _unlike(first, each))})
    names = dict.fromkeys(name for runs in found for each in runs if each for name in _measures(each))
    rows = []
    for name in names:
        measures = [[_measures(each).get(name) if each else None for each in runs] for runs in found]
        rows.append(_result(name, settings, measures, not unlike))
    return rows, unlike


def _result(
    name: str, settings: Sequence[Setting], measures: Sequence[Sequence[Measure | None]], comparable: bool
) -> Row:
    """Returns a measure over problems where a setting has one run, over seeds where it has more. No differences where
    the settings were asked other problems, or asked otherwise."""
    told = _row(name, settings, [[measure.value if measure else None for measure in runs] for runs in measures])
    alone = [runs[0] if len(runs) == 1 else None for runs in measures]
    of_problems = [Interval(each.value, each.low, each.high) if each else None for each in alone]
    shown = tuple(mine or other for mine, other in zip(of_problems, told.values, strict=True))
    if not comparable:
        return Row(name, shown, (None,) * (len(settings) - 1))
    first = alone[0]
    paired = [paired_difference(first.by_problem, each.by_problem) if first and each else None for each in alone[1:]]
    return Row(name, shown, tuple(mine or other for mine, other in zip(paired, told.differences, strict=True)))


def _measures(found: Evaluation) -> dict[str, Measure]:
    """Returns greedy accuracy, pass@1, and both families at their largest k."""
    named = {"greedy accuracy": found.greedy, "pass@1": found.pass_at_1}
    for family, measures in (("pass", found.pass_at), ("maj", found.maj_at)):
        if measures and max(measures) > 1:
            named[f"{family}@{max(measures)}"] = measures[max(measures)]
    return named


def _unlike(first: Evaluation, other: Evaluation) -> str:
    try:
        compare(first, other)
    except UserError as error:
        return str(error)
    return ""
