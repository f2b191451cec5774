"""This module takes of a run's record and evaluations what is whole, so that readers of a damaged file, or of another
program's, find less and nothing unlike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groupwise.values.finite import is_finite

Json = dict[str, Any]
KINDS: Mapping[str, type] = {
    "name": str,
    "recipe": dict,
    "machine": dict,
    "versions": dict,
    "stages": list,
    "resumed": list,
    "changes": list,
}
LATEST = 1e11
"""Unix time, far ahead: a date of a later one cannot be written."""


def whole_record(found: Mapping[str, Any]) -> Json:
    """Returns a run's record without what is of another kind than a run writes."""
    kept: Json = {name: value for name, value in found.items() if isinstance(value, KINDS.get(name, object))}
    for name in ("started", "seconds"):
        if name in kept and not (is_finite(kept[name]) and abs(kept[name]) < LATEST):
            kept[name] = None
    for name in ("stages", "resumed", "changes"):
        if name in kept:
            kept[name] = [one for one in kept[name] if isinstance(one, dict)]
    if "stages" in kept:
        kept["stages"] = [_with_steps(one) for one in kept["stages"]]
    if "recipe" in kept and "stages" in kept["recipe"]:
        stages = kept["recipe"]["stages"]
        stages = [one for one in stages if isinstance(one, dict)] if isinstance(stages, list) else []
        kept["recipe"] = {**kept["recipe"], "stages": stages}
    return kept


def whole_evaluation(found: Mapping[str, Any]) -> Json:
    """Returns a run's evaluations: lists without what holds no evaluation, a comparison or None."""
    kinds = ("models", "scorers", "texts")
    lists = {kind: found[kind] if isinstance(found.get(kind), list) else [] for kind in kinds}
    kept = {kind: [one for one in rows if _is_named(one)] for kind, rows in lists.items()}
    kept["models"] = [one for one in kept["models"] if _is_of_a_policy(one["evaluation"])]
    comparison = found.get("comparison")
    whole = isinstance(comparison, dict) and _is_measure(comparison.get("pass_at_1"))
    return {**found, **kept, "comparison": comparison if whole else None}


def _with_steps(stage: Json) -> Json:
    steps: Any = stage.get("steps")
    return {**stage, "steps": int(steps or 0) if is_finite(steps) else 0}


def _is_named(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("stage"), str) and isinstance(one.get("evaluation"), dict)


def _is_of_a_policy(found: Json) -> bool:
    """Says whether every page can show it: problems, and both measures that every evaluation has."""
    measures: list[Any] = [found.get("greedy"), found.get("pass_at_1")]
    for kind in ("pass_at", "maj_at"):
        several = found.get(kind, {})
        if not isinstance(several, dict) or not all(str(k).isdecimal() for k in several):
            return False
        measures += several.values()
    lists = [found.get("ids"), *(one.get("by_problem", []) for one in measures if isinstance(one, dict))]
    return (
        all(map(_is_measure, measures))
        and all(isinstance(one, list) for one in lists)
        and is_finite(found.get("problems"))
        and isinstance(found.get("sets", {}), dict)
        and isinstance(found.get("completions", []), list)
    )


def _is_measure(found: Any) -> bool:
    return isinstance(found, dict) and all(is_finite(found.get(name)) for name in ("value", "low", "high"))
