"""This module makes a run's steps curves: columns of numbers with four axes to draw them over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from groupwise.values.finite import is_finite

Row = Mapping[str, Any]

MOST_POINTS = 1200
IDENTITY = ("stage", "step", "time_seconds")
CURATED = (
    ("reward", "Reward", "mean, weights included", True),
    ("eval/pass@1", "Held-out pass@1", "one sample a problem", True),
    ("eval/accuracy", "Held-out accuracy", "greedy, on rows never trained on", True),
    ("score_accuracy", "Score accuracy", "pairs in order, or steps on the right side of a half", True),
    ("mean_token_accuracy", "Token accuracy", "demonstrated tokens that were the likeliest", True),
    ("loss", "Loss", "of the update", False),
    ("kl", "KL from the reference", "nats a token", False),
    ("entropy", "Entropy", "nats a token", False),
    ("completions/mean_length", "Completion length", "tokens, mean", False),
    ("frac_reward_zero_std", "Groups without signal", "share whose rewards are all equal", False),
    ("completions/clipped_ratio", "Truncated completions", "share cut at the token limit", False),
    ("grad_norm", "Gradient norm", "before clipping", False),
    ("clip_ratio/high_mean", "Clipped above", "share of tokens", False),
    ("engine_learner_gap", "Sampler against learner", "mean difference of log-probabilities", False),
    ("staleness/mean", "Staleness", "updates between draw and use, mean", False),
    ("turns", "Turns", "of the model in an episode, mean", False),
    ("tools/calls", "Tool calls", "in an episode, mean", False),
    ("step_time", "Seconds a step", "sampling, reward and training", False),
)
"""Metric, title, note, and whether more is better; the others are found by their names."""


def curves(rows: Sequence[Row], record: Mapping[str, Any], after: int = 0) -> dict[str, Any]:
    """Returns a run's steps as columns: place, axes, and every metric that any row has; None where a row has none of
    it.

    Of long runs each point is the mean of as many neighbours as ``bucket`` says. Of others the first ``after`` rows are
    left out, for a page that has them.
    """
    placed = with_axes(rows, record)
    bucket = max(1, -(-len(placed) // MOST_POINTS))
    after = min(max(after, 0), len(rows)) if bucket == 1 else 0
    placed = placed[after:]
    if bucket > 1:
        placed = [_mean(part) for part in _parts(placed, bucket)]
    names = list(dict.fromkeys(name for row in placed for name in row if name not in (*IDENTITY, *AXES)))
    columns = {name: [_known(row.get(name)) for row in placed] for name in names}
    axes = {name: [_known(row.get(name)) for row in placed] for name in AXES}
    return {
        "stage": [row["stage"] for row in placed],
        "step": [row["step"] for row in placed],
        "axes": axes,
        "metrics": columns,
        "bucket": bucket,
        "rows": len(rows),
        "after": after,
    }


AXES = ("axis:step", "axis:samples", "axis:tokens", "axis:seconds")
"""Counted from the beginning of a row's stage."""


def with_axes(rows: Sequence[Row], record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Adds to each row where it stands: steps, samples that were drawn, tokens, and seconds at work."""
    drawn = samples_per_step(record)
    seconds: dict[str, float] = {}
    placed = []
    for row in rows:
        stage = row["stage"]
        seconds[stage] = seconds.get(stage, 0.0) + (_known(row.get("step_time")) or 0.0)
        placed.append(
            {
                **row,
                "axis:step": row["step"],
                "axis:samples": row["step"] * drawn.get(stage, 1),
                "axis:tokens": _known(row.get("num_tokens")),
                "axis:seconds": round(seconds[stage], 3),
            }
        )
    return placed


def samples_per_step(record: Mapping[str, Any]) -> dict[str, int]:
    """Returns how many completions a step of each stage takes, by the recipe."""
    found = {}
    for stage in (record.get("recipe") or {}).get("stages") or ():
        algorithm = stage.get("algorithm")
        source = algorithm.get("source") if isinstance(algorithm, Mapping) else None
        sizes = stage.get("prompts_per_step"), source.get("group_size") if isinstance(source, Mapping) else None
        prompts, completions = (int(size) if is_finite(size) and size else 1 for size in sizes)
        found[str(stage.get("name"))] = prompts * completions
    return found


def _parts(rows: Sequence[dict[str, Any]], bucket: int) -> list[list[dict[str, Any]]]:
    """Divides rows into runs of at most ``bucket`` neighbours, each of one stage."""
    parts: list[list[dict[str, Any]]] = []
    for row in rows:
        if not parts or len(parts[-1]) == bucket or parts[-1][0]["stage"] != row["stage"]:
            parts.append([])
        parts[-1].append(row)
    return parts


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in rows for name in row if name not in (*IDENTITY, *AXES))
    known = {name: [value for row in rows if (value := _known(row.get(name))) is not None] for name in names}
    means = {name: fmean(values) for name, values in known.items() if values}
    last = {name: rows[-1].get(name) for name in ("stage", "step", *AXES)}
    return last | means


def _known(value: Any) -> float | None:
    """Returns a finite number, and None for all else."""
    return value if is_finite(value) else None
