"""This module measures how good a scorer is on held-out pairs or steps, how far its probabilities can be believed, and
whether it beats guessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp, log, log1p
from typing import TYPE_CHECKING, Any, Literal

from groupwise.evaluation.statistics import (
    Interval,
    clustered_auc,
    clustered_share,
    mean,
    mean_interval,
    wilson_interval,
)
from groupwise.output.counting import counted

if TYPE_CHECKING:
    from groupwise.learning.trainable import Trainable
    from groupwise.sources import DrawContext
    from groupwise.training.stage import Stage
    from groupwise.types import Group

BINS = 10
Step = tuple[float, float]
"""``(label, score)``: a label of at least a half says that the step is right; the score is a logit."""


@dataclass(frozen=True)
class Bin:
    """A bin holds predictions between ``low`` and ``high``: how many, what they said on average, and what came true."""

    low: float
    high: float
    count: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class ScorerEvaluation:
    """This is what one scorer did on one task's held-out data."""

    kind: Literal["pairs", "steps"]
    task: str
    counts: Mapping[str, int]
    """pairs, groups, ties; or steps, solutions, faulty (solutions with a wrong step)."""
    measures: Mapping[str, Interval]
    """With 95 % intervals. Pairs: ``accuracy`` (ties are half right; groups of more than two count once). Steps:
    ``auc`` (absent where one class is all there is), ``accuracy``, and ``first_error``: the share of solutions whose
    first wrong step, or whose having none, is found (where solutions have several labels)."""
    numbers: Mapping[str, float]
    """``log_loss`` in nats, ``calibration_error`` (ECE), and of pairs ``margin``, the mean difference of scores."""
    reliability: tuple[Bin, ...]
    """Of the probability that a step is right, in [0, 1]; of pairs, that the one it prefers is preferred, in
    [0.5, 1]. Bins without a prediction are left out."""
    baselines: Mapping[str, Mapping[str, float]]
    """The same measures of ``random`` scores; of pairs also of ``longer``, the one with more tokens; of steps also of
    ``majority``, the commoner label for every step."""

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that ``json.dumps`` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ScorerEvaluation:
        """Reads what ``to_json`` gave, also after a round through text."""
        measures = {name: Interval(**measure) for name, measure in values["measures"].items()}
        return cls(
            **{**values, "measures": measures, "reliability": tuple(Bin(**row) for row in values["reliability"])}
        )

    def beaten(self) -> dict[str, dict[str, bool]]:
        """Says, by measure and baseline, whether the whole interval lies above it."""
        return {
            name: {kind: measure.low > said[name] for kind, said in self.baselines.items() if name in said}
            for name, measure in self.measures.items()
        }

    def headline(self) -> str:
        """Every measure with its interval and what it is held against."""
        size = f"{self.counts['pairs']} pairs" if self.kind == "pairs" else f"{self.counts['steps']} steps"
        told = [
            f"{name.replace('_', ' ')} {_shown(measure)}{self._held(name)}" for name, measure in self.measures.items()
        ]
        return f"{'; '.join(told)}; calibration error {self.numbers['calibration_error']:.3f}; {size}"

    def _held(self, name: str) -> str:
        said = [
            f"{'beats' if won else 'does not beat'} {kind} {self.baselines[kind][name]:.3f}"
            for kind, won in self.beaten()[name].items()
        ]
        return f" ({', '.join(said)})" if said else ""


def pair_evaluation(task: str, groups: Sequence[Sequence[tuple[float, bool | None]]]) -> ScorerEvaluation:
    """Measures each group's pairs: the better one's score minus the worse one's, and whether the better one is longer
    (None: as long). Raises ValueError where there is no pair."""
    margins = [margin for group in groups for margin, _ in group]
    sides = [max(0.5, _sigmoid(abs(margin))) for margin in margins]
    return ScorerEvaluation(
        kind="pairs",
        task=task,
        counts={"pairs": len(margins), "groups": len(groups), "ties": sum(margin == 0 for margin in margins)},
        measures={"accuracy": mean_interval([mean([_won(margin) for margin, _ in group]) for group in groups])},
        numbers={
            "log_loss": mean([_softplus(-margin) for margin in margins]),
            "margin": mean(margins),
            "calibration_error": calibration_error(sides, [_won(margin) for margin in margins], 0.5),
        },
        reliability=reliability(sides, [_won(margin) for margin in margins], 0.5),
        baselines={
            "random": {"accuracy": 0.5, "log_loss": log(2)},
            "longer": {
                "accuracy": mean([mean([0.5 if x is None else float(x) for _, x in group]) for group in groups])
            },
        },
    )


def step_evaluation(task: str, solutions: Sequence[Sequence[Step]]) -> ScorerEvaluation:
    """Measures each solution's labelled steps in order. Raises ValueError where there is none."""
    steps = [step for solution in solutions for step in solution]
    labels, chances = [label for label, _ in steps], [_sigmoid(score) for _, score in steps]
    share = mean([float(label >= 0.5) for label in labels])
    found = [float(_first_error([y for y, _ in s]) == _first_error([float(z > 0) for _, z in s])) for s in solutions]
    faulty = sum(_first_error([label for label, _ in solution]) is not None for solution in solutions)
    hits = [[float((z > 0) == (y >= 0.5)) for y, z in solution] for solution in solutions]
    measures = {"accuracy": clustered_share(hits)}
    if any(len(solution) > 1 for solution in solutions):
        measures["first_error"] = wilson_interval(sum(found), len(found))
    if 0 < share < 1:
        measures = {"auc": clustered_auc([[(z, y >= 0.5) for y, z in solution] for solution in solutions])} | measures
    blind = [float(_first_error([y for y, _ in s]) == (None if share >= 0.5 else 0)) for s in solutions]
    chance = mean(labels)
    return ScorerEvaluation(
        kind="steps",
        task=task,
        counts={"steps": len(steps), "solutions": len(solutions), "faulty": faulty},
        measures=measures,
        numbers={
            "log_loss": mean([y * _softplus(-z) + (1 - y) * _softplus(z) for y, z in steps]),
            "calibration_error": calibration_error(chances, labels),
        },
        reliability=reliability(chances, labels),
        baselines={
            "random": {"auc": 0.5, "accuracy": 0.5, "log_loss": log(2)},
            "majority": {"accuracy": max(share, 1 - share), "first_error": mean(blind), "log_loss": _entropy(chance)},
        },
    )


def reliability(chances: Sequence[float], came_true: Sequence[float], low: float = 0.0) -> tuple[Bin, ...]:
    """Returns ten bins of equal width from ``low`` to 1; ``came_true`` are 0 and 1, or shares."""
    width = (1 - low) / BINS
    held: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for chance, truth in zip(chances, came_true, strict=True):
        held[min(BINS - 1, int((chance - low) / width))].append((chance, truth))
    return tuple(
        Bin(
            low + number * width,
            low + (number + 1) * width,
            len(rows),
            mean([a for a, _ in rows]),
            mean([b for _, b in rows]),
        )
        for number, rows in enumerate(held)
        if rows
    )


def calibration_error(chances: Sequence[float], came_true: Sequence[float], low: float = 0.0) -> float:
    """Computes the expected calibration error: Σ_bins share of predictions · |predicted - observed| (arXiv
    1706.04599)."""
    table = reliability(chances, came_true, low)
    return sum(row.count * abs(row.predicted - row.observed) for row in table) / len(chances)


def evaluate_scorer(stage: Stage, learner: Trainable, groups: Sequence[Group]) -> ScorerEvaluation:
    """Measures what ``learner``, a scorer, makes of the groups, read as its stage's objective reads them.

    Raises ValueError where they hold no pair and no label.
    """
    from groupwise.algorithm.preferences import better_pairs, last_scores
    from groupwise.learning.collate import signals_of
    from groupwise.types import flatten

    rollouts = flatten(groups)
    scores, signals = learner.logprobs(rollouts, 1.0), stage.algorithm.prepare(signals_of(groups))
    if not stage.algorithm.objective.joins_group():
        ends = stage.algorithm.objective.learns_from(signals)
        rows = [
            list(zip(signals.rewards[row, own].tolist(), scores[row, own].tolist(), strict=True))
            for row, own in enumerate(ends)
        ]
        return step_evaluation(stage.task.name, [row for row in rows if row])
    last = last_scores(scores, signals.mask).tolist()
    by_prompt: dict[bytes, list[tuple[float, bool | None]]] = {}  # its pairs hang together
    for better, worse in zip(*(rows.tolist() for rows in better_pairs(signals)), strict=True):
        longer = sum(rollouts[better].mask) - sum(rollouts[worse].mask)
        pair = last[better] - last[worse], longer > 0 if longer else None
        by_prompt.setdefault(rollouts[better].prompt.key, []).append(pair)
    return pair_evaluation(stage.task.name, list(by_prompt.values()))


def held_out_groups(stage: Stage, context: DrawContext, problems: int) -> list[Group]:
    """Returns what the stage's source makes of the first held-out rows, each group once; kept in ``context.gathered``.

    Raises UserError where the source can make nothing of them.
    """
    from groupwise.sources import OfflineGroups
    from groupwise.training.stage import in_stage

    key = f"{stage.name}: {counted(problems, 'held-out row')}"
    if key not in context.gathered:
        task, source, count = stage.task, stage.algorithm.source, min(problems, len(stage.task.held_out))
        task = replace(task, train=tuple(task.held_out[place] for place in range(count)), shares=())
        if asked := source.gathers(count):
            count *= source.samples_per_prompt * len(source.samples_from())
            source = source.on_trial(asked)
        there = in_stage(replace(stage, task=task, prompts_per_step=count), replace(context, store=None))
        drawn = source.draw(there, {}).groups
        once = {
            (group.prompt.example.id, tuple(rollout.tokens for rollout in group.rollouts)): group for group in drawn
        }
        context.gathered[key] = OfflineGroups(list(once.values()))
    return context.gathered[key].groups


def _won(margin: float) -> float:
    return 0.5 if margin == 0 else float(margin > 0)


def _first_error(labels: Sequence[float]) -> int | None:
    return next((place for place, label in enumerate(labels) if label < 0.5), None)


def _sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value)) if value >= 0 else exp(value) / (1 + exp(value))


def _softplus(value: float) -> float:
    """Returns log(1 + exp(value)), so that -log σ(z) is that of -z."""
    return max(value, 0.0) + log1p(exp(-abs(value)))


def _entropy(chance: float) -> float:
    return -sum(p * log(p) for p in (chance, 1 - chance) if p > 0)


def _shown(measure: Interval) -> str:
    return f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}]"
