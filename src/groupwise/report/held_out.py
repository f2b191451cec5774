"""The report's evaluations of each held-out set by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def parts_by_set(
    models: Sequence[Json], comparison: Json | None
) -> Iterator[tuple[str, list[dict[str, Any]], dict[str, Any] | None]]:
    """Returns of each set that the last model was asked: its name, every model on it, and last minus first where they
    compare.

    Models that were asked other sets are left out.
    """
    names = models[-1]["evaluation"].get("sets") or {}
    if not names:
        return
    from groupwise.evaluation.comparison import compare
    from groupwise.evaluation.evaluate import Evaluation

    found = [
        (model["stage"], Evaluation.from_json({"seconds": 0.0, **model["evaluation"]}))
        for model in models
        if set(model["evaluation"].get("sets") or {}) == set(names)
    ]
    for name in names:
        parts = [(stage, each.of_set(name)) for stage, each in found]
        difference = compare(parts[0][1], parts[-1][1]).to_json() if comparison and len(parts) > 1 else None
        if difference:
            for family in ("pass_at", "maj_at"):
                difference[family] = {str(k): interval for k, interval in difference[family].items()}
        yield name, [{"stage": stage, "evaluation": _as_read(each)} for stage, each in parts], difference


def _as_read(evaluation: Any) -> dict[str, Any]:
    """As JSON that was read has it: the keys are texts."""
    values: dict[str, Any] = evaluation.to_json()
    return values | {family: {str(k): each for k, each in values[family].items()} for family in ("pass_at", "maj_at")}
