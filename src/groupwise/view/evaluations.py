"""This module sets a run's evaluations before and after side by side, problem by problem, disagreements first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.evaluation.moments import moment
from groupwise.evaluation.texts import TextEvaluation, text_difference
from groupwise.view.groups import cut

Json = Mapping[str, Any]
KINDS = ("lost", "gained", "wrong", "right")


def evaluations(found: Json) -> dict[str, Any]:
    """Returns measures of every model, the paired differences, and problems by set with what both models made of
    them."""
    models = [
        {"stage": one["stage"], "moment": moment(one["stage"]), **_measures(one["evaluation"])}
        for one in found["models"]
    ]
    scorers = [{"stage": one["stage"], "evaluation": one["evaluation"]} for one in found.get("scorers") or ()]
    result: dict[str, Any] = {"texts": texts(found.get("texts") or ())}
    result |= {"models": models, "scorers": scorers, "comparison": found.get("comparison"), "problems": [], "sets": []}
    if not found["models"]:
        return result
    first, last = found["models"][0]["evaluation"], found["models"][-1]["evaluation"]
    result["sets"] = list((last.get("sets") or {}).keys())
    result["problems"] = problems(first if len(models) > 1 and first["ids"] == last["ids"] else None, last)
    return result


def texts(rows: Sequence[Json]) -> list[dict[str, Any]]:
    """Returns bits per byte of each model on held-out documents, and its paired difference from the first's."""
    models = [(row["stage"], TextEvaluation.from_json(row["evaluation"])) for row in rows]
    told = []
    for stage, found in models:
        first = models[0][1]
        alike = (found.ids, found.bytes) == (first.ids, first.bytes)
        change = text_difference(first, found) if found is not first and alike else None
        said = {"moment": moment(stage), "documents": len(found.ids), "bytes": sum(found.bytes)}
        told.append({**said, **vars(found.bits_per_byte), "difference": None if change is None else vars(change)})
    return told


def problems(before: Json | None, after: Json) -> list[dict[str, Any]]:
    """Returns a row a problem: lost ones first, then gained ones, then those that both have wrong, or right."""
    of_set = {row: name for name, rows in (after.get("sets") or {}).items() for row in rows}
    rows = []
    for at, name in enumerate(after["ids"]):
        now = _at(after, at)
        was = None if before is None else _at(before, at)
        kind = "right" if (now["greedy"] or 0) > 0 else "wrong"
        if was is not None and (was["greedy"] or 0) != (now["greedy"] or 0):
            kind = "lost" if (was["greedy"] or 0) > (now["greedy"] or 0) else "gained"
        rows.append({"id": name, "set": of_set.get(at, ""), "kind": kind, "before": was, "after": now})
    return sorted(rows, key=lambda row: KINDS.index(row["kind"]))


def _at(evaluation: Json, at: int) -> dict[str, Any]:
    """Returns what a model made of one problem; its greedy answer where it was kept."""
    shown: Sequence[Json] = evaluation.get("completions") or ()
    found: dict[str, Any] = {
        name: _nth(evaluation[name].get("by_problem") or (), at) for name in ("greedy", "pass_at_1")
    }
    kept = shown[at] if at < len(shown) else None
    if kept:
        found |= {"question": cut(kept["question"], 4000), "text": cut(kept["text"], 8000), "reward": kept["reward"]}
    return found


def _nth(values: Sequence[float], at: int) -> float | None:
    return values[at] if at < len(values) else None


def _measures(evaluation: Json) -> dict[str, Any]:
    """The table's rows: measures with their intervals."""
    rows = [("greedy accuracy", evaluation["greedy"]), ("pass@1", evaluation["pass_at_1"])]
    for kind, title in (("pass_at", "pass@"), ("maj_at", "maj@")):
        for k, measure in sorted((evaluation.get(kind) or {}).items(), key=lambda item: int(item[0])):
            if int(k) > 1:
                rows.append((f"{title}{k}", measure))
    kept = ("problems", "mean_completion_tokens", "truncated_fraction", "unparseable_fraction", "judge", "settings")
    by_set = evaluation.get("sets") or {}
    return {
        "measures": [
            {"name": name, **{part: each.get(part) for part in ("value", "low", "high")}} for name, each in rows
        ],
        "sets": {name: _mean_of(evaluation, places) for name, places in by_set.items()},
        **{name: evaluation.get(name) for name in kept},
    }


def _mean_of(evaluation: Json, places: Sequence[int]) -> dict[str, Any]:
    found: dict[str, Any] = {"problems": len(places)}
    for name in ("greedy", "pass_at_1"):
        values = [evaluation[name]["by_problem"][at] for at in places if at < len(evaluation[name]["by_problem"])]
        found[name] = sum(values) / len(values) if values else None
    return found
