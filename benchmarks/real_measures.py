"""How good two scorers are on held-out real data, and how much of that needs no reading.

Controls are fitted on training rows alone. Differences are paired: both sides judged on the same questions, with 95 %
intervals over questions (percentile bootstrap; ``statistics.paired_difference`` where a question has one value).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import exp, log
from typing import Any

import numpy as np
from real_data import Solution

from groupwise.evaluation.statistics import mean_interval, paired_difference
from groupwise.types import Example

DRAWS = 1000
ANNOUNCES = re.compile(r"answer|####|print\(")
Step = tuple[float, float, float, float]
"""Label, the scorer's logit, the surface control's, the majority's."""
Labels = Sequence[Sequence[bool]]
Values = Sequence[Sequence[float]]
PARTS = (
    ("the right one is longer", "longer", 1),
    ("the right one is shorter", "longer", -1),
    ("the better model wrote the right one", "generator", 1),
    ("the worse model wrote the right one", "generator", -1),
)
Measure = Callable[[np.ndarray, np.ndarray], float]


def step_measures(
    train: Sequence[Example], scored: Sequence[tuple[Example, list[tuple[float, float]]]]
) -> dict[str, Any]:
    """The scorer beside its controls, on all steps, on those up to the first wrong one, and set by set.

    The controls of a part are fitted on that part of the training rows.
    """
    for example, steps in scored:
        if len(steps) != len(example.columns["labels"]):
            raise RuntimeError(f"{example.id}: {len(steps)} scores for {len(example.columns['labels'])} steps")
    rows = with_controls(train, scored, lambda labels: len(labels))
    early = with_controls(train, scored, until_wrong)
    sets: dict[str, list[list[Step]]] = defaultdict(list)
    for (example, _), row in zip(scored, rows, strict=True):
        sets[set_of(example)].append(row)
    return {
        "all steps": compared(rows, {"AUC": auc, "accuracy": accuracy, "log loss": log_loss}),
        "steps up to the first wrong one": compared(early, {"AUC": auc, "accuracy": accuracy}),
        "first error": first_error_measures(rows),
        "sets": {name: compared(found, {"AUC": auc}) for name, found in sorted(sets.items())},
    }


def with_controls(
    train: Sequence[Example],
    scored: Sequence[tuple[Example, list[tuple[float, float]]]],
    size: Callable[[Sequence[bool]], int],
) -> list[list[Step]]:
    """Of each solution its first steps, as many as ``size`` says of its labels."""
    kept = [(example, size(example.columns["labels"])) for example in train]
    surface, common = surface_control(kept), majority(kept)
    return [
        [(y, z, surface(example, at), common) for at, (y, z) in enumerate(steps[: size(example.columns["labels"])])]
        for example, steps in scored
    ]


def until_wrong(labels: Sequence[bool]) -> int:
    """The number of steps up to the first wrong one, which counts."""
    return next((at + 1 for at, label in enumerate(labels) if not label), len(labels))


def compared(rows: Sequence[Sequence[Step]], measures: Mapping[str, Measure]) -> dict[str, Any]:
    """Of each measure the scorer's value, the controls', and the differences."""
    parts = [np.array(row) for row in rows]
    drawn = np.random.default_rng(0).integers(len(parts), size=(DRAWS, len(parts)))
    samples = [np.concatenate(parts), *(np.concatenate([parts[at] for at in draw]) for draw in drawn)]
    found: dict[str, Any] = {"steps": len(samples[0]), "solutions": len(parts), "right": float(samples[0][:, 0].mean())}
    for name, measure in measures.items():
        values = np.array([[measure(flat[:, 0], flat[:, column]) for column in (1, 2, 3)] for flat in samples])
        if np.isnan(values[0]).any():
            continue
        found[name] = {
            "value": bootstrap(values[:, 0]),
            "surface": float(values[0, 1]),
            "majority": float(values[0, 2]),
            "over surface": bootstrap(values[:, 0] - values[:, 1]),
            "over majority": bootstrap(values[:, 0] - values[:, 2]),
        }
    return found


def bootstrap(values: np.ndarray) -> dict[str, float]:
    """The first is the value itself, the others those of resampled questions."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The chance that a right step scores above a wrong one, ties half; nan where a class is missing."""
    right, wrong = scores[labels >= 0.5], np.sort(scores[labels < 0.5])
    if not len(right) or not len(wrong):
        return float("nan")
    below = np.searchsorted(wrong, right, "left") + np.searchsorted(wrong, right, "right")
    return float(below.mean() / (2 * len(wrong)))


def accuracy(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(((scores > 0) == (labels >= 0.5)).mean())


def log_loss(labels: np.ndarray, scores: np.ndarray) -> float:
    """Nats a step."""
    return float((np.logaddexp(0, scores) - labels * scores).mean())


def first_error_measures(rows: Sequence[Sequence[Step]]) -> dict[str, Any]:
    """Solutions whose first wrong step, or whose having none, is found: the scorer, and the controls."""
    places = [[first_wrong([step[column] for step in row]) for row in rows] for column in range(4)]
    hits = [[float(a == b) for a, b in zip(places[0], said, strict=True)] for said in places[1:]]
    return {
        "value": asdict(mean_interval(hits[0])),
        "surface": sum(hits[1]) / len(rows),
        "majority": sum(hits[2]) / len(rows),
        "over surface": asdict(paired_difference(hits[1], hits[0])),
        "over majority": asdict(paired_difference(hits[2], hits[0])),
    }


def first_wrong(values: Sequence[float]) -> int | None:
    """Labels are wrong at 0, logits at 0 and below."""
    return next((at for at, value in enumerate(values) if value <= 0), None)


def majority(train: Sequence[tuple[Example, int]]) -> float:
    """The logit of the share of right steps: one number for every step."""
    labels = [label for example, size in train for label in example.columns["labels"][:size]]
    share = sum(labels) / len(labels)
    return log(share / (1 - share))


def surface_control(train: Sequence[tuple[Example, int]]) -> Callable[[Example, int], float]:
    """The logit of the share of right steps in the same set, at the same place, that announce an answer or do not.

    It reads the number of the step and one mark; shares are drawn towards the set's own by two steps' weight.
    """
    seen: dict[tuple[Any, ...], list[bool]] = defaultdict(list)
    for example, size in train:
        for place, label in enumerate(example.columns["labels"][:size]):
            seen[key_of(example, place)].append(label)
            seen[(set_of(example),)].append(label)

    def logit(example: Example, place: int) -> float:
        base, found = seen[(set_of(example),)], seen[key_of(example, place)]
        prior = (sum(base) + 0.5) / (len(base) + 1)
        share = (sum(found) + 2 * prior) / (len(found) + 2)
        return log(share / (1 - share))

    return logit


def key_of(example: Example, place: int) -> tuple[str, int, bool]:
    return set_of(example), place, bool(ANNOUNCES.search(example.columns["completions"][place]))


def set_of(example: Example) -> str:
    return example.id.partition("/")[0]


def pair_measures(
    train: Sequence[Sequence[Solution]],
    questions: Sequence[Sequence[Solution]],
    scored: Sequence[Sequence[tuple[float, int]]],
) -> dict[str, Any]:
    """Every right solution against every wrong one of its question; each question counts once."""
    order = generator_order(train)
    right = [[solution.right for solution in question] for question in questions]
    rules: dict[str, Values] = {
        "scorer": [[score for score, _ in row] for row in scored],
        "longer": [[float(tokens) for _, tokens in row] for row in scored],
        "generator": [[order[solution.generator] for solution in question] for question in questions],
    }
    won = {name: by_question(right, values) for name, values in rules.items()}
    best = {name: [top(*row) for row in zip(right, values, strict=True)] for name, values in rules.items()}
    blind = [mean([float(label) for label in row]) for row in right]
    flat = np.array([each for row in scored for each in row])
    return {
        "questions": len(won["scorer"]),
        "accuracy": asdict(mean_interval(won["scorer"])),
        **{name: mean(won[name]) for name in ("longer", "generator")},
        "over random": asdict(paired_difference([0.5] * len(won["scorer"]), won["scorer"])),
        **{f"over {name}": asdict(paired_difference(won[name], won["scorer"])) for name in ("longer", "generator")},
        "parts": {
            name: asdict(mean_interval(values))
            for name, other, sign in PARTS
            if (values := by_question(right, rules["scorer"], rules[other], sign))
        },
        "best of four": asdict(mean_interval(best["scorer"])),
        "any of four": mean(blind),
        "best of four over any": asdict(paired_difference(blind, best["scorer"])),
        "correlation with length": float(np.corrcoef(flat.T)[0, 1]),
        "calibration": calibration(right, rules["scorer"]),
    }


def by_question(right: Labels, values: Values, other: Values | None = None, sign: int = 1) -> list[float]:
    """Of each question with such pairs the share in which the right side has the larger value, ties half.

    With ``other`` only pairs whose right side has more (sign 1) or less (-1) of that.
    """
    found = []
    for row, (labels, mine) in enumerate(zip(right, values, strict=True)):
        pairs = pairs_of(labels)
        if other is not None:
            pairs = [(i, j) for i, j in pairs if (other[row][i] - other[row][j]) * sign > 0]
        found += [mean([half(mine[i] - mine[j]) for i, j in pairs])] if pairs else []
    return found


def pairs_of(right: Sequence[bool]) -> list[tuple[int, int]]:
    """Places of every right one with every wrong one."""
    return [(i, j) for i, good in enumerate(right) if good for j, also in enumerate(right) if not also]


def calibration(right: Labels, values: Values) -> dict[str, float]:
    """What σ of a pair's distance promises of the side it prefers, on average, and how often that side is right."""
    margins = [row[i] - row[j] for labels, row in zip(right, values, strict=True) for i, j in pairs_of(labels)]
    return {"promised": mean([1 / (1 + exp(-abs(m))) for m in margins]), "kept": mean([half(m) for m in margins])}


def generator_order(train: Sequence[Sequence[Solution]]) -> dict[str, float]:
    """Share of right solutions of each model on training questions."""
    seen: dict[str, list[float]] = defaultdict(list)
    for question in train:
        for solution in question:
            seen[solution.generator].append(float(solution.right))
    return {name: mean(found) for name, found in seen.items()}


def top(right: Sequence[bool], values: Sequence[float]) -> float:
    """Whether the one with the most is right; the mean of those that share the place."""
    most = max(values)
    return mean([float(y) for y, value in zip(right, values, strict=True) if value == most])


def half(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
