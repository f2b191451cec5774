"""The report's curves: one section a stage, small charts that share their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from groupwise.output.counting import counted
from groupwise.report.charts import Frame, Series, chart, span, stacked
from groupwise.report.markup import Html, element, number

Row = Mapping[str, Any]
Range = tuple[float | None, float | None]

MOST_POINTS = 600
LARGEST = 1e300
"""Of a curve's values, so that their range is a number."""

CURVES = (
    ("reward", "Reward", "Mean, weights included", (None, None)),
    ("mean_token_accuracy", "Token accuracy", "Demonstrated tokens that were the likeliest", (0.0, 1.0)),
    ("loss", "Loss", "", (None, None)),
    ("score_accuracy", "Score accuracy", "Pairs in order, or steps on the right side of a half", (0.0, 1.0)),
    ("eval/accuracy", "Held-out accuracy", "Greedy, or of a scorer, on rows never trained on", (0.0, 1.0)),
    ("eval/pass@1", "Held-out pass@1", "One sample a problem", (0.0, 1.0)),
    ("kl", "KL from the reference", "Nats a token", (0.0, None)),
    ("entropy", "Entropy", "Nats a token", (0.0, None)),
    ("completions/mean_length", "Completion length", "Tokens, mean", (None, None)),
    ("turns", "Turns", "Of the model's in an episode, mean", (None, None)),
    ("tools/calls", "Tool calls", "In an episode, mean", (0.0, None)),
    ("frac_reward_zero_std", "Groups without signal", "Share whose rewards are all equal", (0.0, 1.0)),
    ("completions/clipped_ratio", "Truncated completions", "Share cut at the token limit", (0.0, None)),
)
"""Metric, title, note, range of the y axis (None: from the values)."""

IDLE_AT_ZERO = ("kl", "completions/clipped_ratio")
"""Curves that say nothing while they stay at 0; they are then among the other metrics."""

PHASES = (("sample", "sampling"), ("reward", "reward"), ("train", "training"), ("other", "other"))
IDENTITY = ("stage", "step", "time_seconds")


def training(rows: Sequence[Row], stages: Sequence[Mapping[str, Any]]) -> list[Html]:
    """A section for each stage that has metrics, in the order of the run."""
    order = [stage["name"] for stage in stages]
    order += [name for name in dict.fromkeys(row["stage"] for row in rows) if name not in order]
    return [_stage(name, own) for name in order if (own := [row for row in rows if row["stage"] == name])]


def _stage(name: str, rows: Sequence[Row]) -> Html:
    thinned, bucket = thin(rows)
    steps = [row["step"] for row in thinned]
    present = {key for row in thinned for key in row if key not in IDENTITY}
    folded = {"loss"} if "reward" in present else set()
    folded |= {key for key in IDLE_AT_ZERO if not any(row.get(key) for row in thinned)}
    main = [curve for curve in (*CURVES[:1], *_each_reward(present), *CURVES[1:]) if curve[0] in present - folded]
    charts = [_curve(thinned, steps, *curve) for curve in main]
    if any(f"seconds/{phase}" in present for phase, _ in PHASES):
        charts.append(_time(thinned, steps, present))
    shown = {curve[0] for curve in main} | {f"seconds/{phase}" for phase, _ in PHASES}
    others = [_curve(thinned, steps, key, key, "", (None, None)) for key in sorted(present - shown)]
    parts = [element("h3", f"Stage {name}", element("small", counted(rows[-1]["step"], "step")))]
    if bucket > 1:
        parts.append(element("p", f"Each point is the mean of {bucket} steps.", class_="note"))
    parts.append(element("div", *charts, class_="charts"))
    if others:
        summary = element("summary", counted(len(others), "more metric"))
        parts.append(element("details", summary, element("div", *others, class_="charts")))
    return element("section", *parts, class_="stage", aria_label=f"Stage {name}")


def _each_reward(present: set[str]) -> list[tuple[str, str, str, Range]]:
    """A curve for each reward, where there are several."""
    names = sorted(key for key in present if key.startswith("rewards/") and key.endswith("/mean"))
    titles = {name: name.removeprefix("rewards/").removesuffix("/mean") for name in names}
    curves: list[tuple[str, str, str, Range]] = [
        (name, f"Reward: {title}", "Mean, before its weight", (None, None)) for name, title in titles.items()
    ]
    return curves if len(curves) > 1 else []


def _curve(rows: Sequence[Row], steps: Sequence[int], key: str, title: str, note: str, y_range: Range) -> Html:
    values = [None if row.get(key) is None else max(-LARGEST, min(LARGEST, row[key])) for row in rows]
    sparse = any(value is None for value in values)
    frame = Frame(steps, span(values, *y_range))
    return chart(title, frame, [Series(title, values, dots=sparse)], note)


def _time(rows: Sequence[Row], steps: Sequence[int], present: set[str]) -> Html:
    series = [
        Series(label, [row.get(f"seconds/{phase}") for row in rows], style=f"phase-{phase}")
        for phase, label in PHASES
        if f"seconds/{phase}" in present
    ]
    totals = [sum(s.values[at] or 0.0 for s in series) for at in range(len(rows))]
    return stacked("Time by phase", Frame(steps, span(totals, low=0.0), y_format=_seconds), series, "Seconds a step")


def _seconds(value: float) -> str:
    return f"{number(value)} s"


def thin(rows: Sequence[Row], most: int = MOST_POINTS) -> tuple[list[Row], int]:
    """Returns at most ``most`` rows, each the mean of equally many neighbours (missing values left out), and how
    many."""
    bucket = -(-len(rows) // most)
    if bucket == 1:
        return list(rows), 1
    return [_mean_row(rows[at : at + bucket]) for at in range(0, len(rows), bucket)], bucket


def _mean_row(rows: Sequence[Row]) -> Row:
    keys = dict.fromkeys(key for row in rows for key in row if key not in IDENTITY)
    known = {key: [row[key] for row in rows if row.get(key) is not None] for key in keys}
    means = {key: fmean(values) for key, values in known.items() if values}
    return {"stage": rows[-1]["stage"], "step": rows[-1]["step"], **means}
