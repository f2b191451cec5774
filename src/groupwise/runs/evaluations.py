"""This module keeps ``evaluation.json``: how good each stage's model is. How long that took stands in run.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groupwise.evaluation.comparison import comparable, compare
from groupwise.evaluation.evaluate import Evaluation
from groupwise.evaluation.moments import moment
from groupwise.evaluation.texts import TextEvaluation
from groupwise.output.counting import counted, signed
from groupwise.runs.directory import RunDirectory
from groupwise.runs.scorer_evaluation import ScorerEvaluation
from groupwise.storage.atomic import read_json, write_json
from groupwise.values.tolerance import reaches

SECONDS = "evaluation_seconds"


class Evaluations:
    """These are the evaluations of one run."""

    def __init__(self, place: RunDirectory) -> None:
        self.place = place

    @property
    def models(self) -> dict[str, Evaluation]:
        """Returns those of policies by the stage that left them, in the order they were made; of the one that the run
        began with by ``before`` the stage."""
        took = self.place.read().get(SECONDS, {})
        return {
            one["stage"]: Evaluation.from_json(one["evaluation"] | {"seconds": took.get(one["stage"], 0.0)})
            for one in self._kept("models") or ()
        }

    @property
    def scorers(self) -> dict[str, ScorerEvaluation]:
        """Returns those of scorers by stage."""
        return {one["stage"]: ScorerEvaluation.from_json(one["evaluation"]) for one in self._kept("scorers") or ()}

    @property
    def texts(self) -> dict[str, TextEvaluation]:
        """Returns those of models on plain text, in the order they were made; of the one that the run began with by
        ``before`` the stage."""
        return {one["stage"]: TextEvaluation.from_json(one["evaluation"]) for one in self._kept("texts") or ()}

    def add_text(self, stage: str, found: TextEvaluation) -> None:
        """Keeps what was found on held-out documents of the model that a stage left."""
        self._write(texts=self.texts | {stage: found})

    def add_model(self, stage: str, found: Evaluation) -> None:
        """Adds a model's evaluation and the comparison with the first one, where both are of the same problems."""
        models = self.models | {stage: found}
        first = next(iter(models.values()))
        comparison = compare(first, found) if len(models) > 1 and comparable(first, found) else None
        self.place.write_record({SECONDS: {name: one.seconds for name, one in models.items()}})
        self._write(models=models, comparison=comparison and comparison.to_json())

    def add_scorer(self, stage: str, found: ScorerEvaluation) -> None:
        """Keeps what was found of the reward model that a stage left."""
        self._write(scorers=self.scorers | {stage: found})

    def _write(self, **changed: Any) -> None:
        kept: dict[str, Any] = {"models": self.models, "comparison": self._kept("comparison"), "scorers": self.scorers}
        if self.texts or "texts" in changed:
            kept["texts"] = self.texts
        kept |= changed
        for kind in [kind for kind in ("models", "scorers", "texts") if kind in kept]:
            kept[kind] = [{"stage": name, "evaluation": found.to_json()} for name, found in kept[kind].items()]
        for one in kept["models"]:
            del one["evaluation"]["seconds"]
        write_json(self.place.evaluation, kept)

    def _kept(self, part: str) -> Any:
        """Returns a part of evaluation.json; None where it has none."""
        return (read_json(self.place.evaluation, dict) or {}).get(part)


def changes(models: Mapping[str, Evaluation]) -> list[str]:
    """Returns a line about the first and the last of them, and one for each held-out set; none where they do not
    compare."""
    if len(models) < 2:
        return []
    (first, was), *_, (last, now) = models.items()
    if not comparable(was, now):
        return []
    pairs = {"": (was, now)} | {f", {name}": (was.of_set(name), now.of_set(name)) for name in now.sets}
    return [f"{moment(first)} -> {moment(last)}{name}: {_change(*pair)}" for name, pair in pairs.items()]


def _change(was: Evaluation, now: Evaluation) -> str:
    difference = compare(was, now)
    rows = [("greedy accuracy", was.greedy, now.greedy, difference.greedy)]
    rows += [("pass@1", was.pass_at_1, now.pass_at_1, difference.pass_at_1)]
    k = max(difference.pass_at, default=1)
    if k > 1:
        rows += [(f"pass@{k}", was.pass_at[k], now.pass_at[k], difference.pass_at[k])]
        rows += [(f"maj@{k}", was.maj_at[k], now.maj_at[k], difference.maj_at[k])] if k in difference.maj_at else []
    return "; ".join(
        f"{name} {a.value:.3f} -> {b.value:.3f}, paired {signed(d.value)} [{signed(d.low)}, {signed(d.high)}]"
        for name, a, b, d in rows
    )


def headline(evaluation: Evaluation) -> str:
    """The two numbers that matter, with their 95 % intervals, who judged, and the mean of each reward."""
    greedy, sampled = evaluation.greedy, evaluation.pass_at_1
    return (
        f"greedy accuracy {greedy.value:.3f} [{greedy.low:.3f}, {greedy.high:.3f}], "
        f"pass@1 {sampled.value:.3f} [{sampled.low:.3f}, {sampled.high:.3f}] on "
        f"{counted(evaluation.problems, 'problem')}{judged_by(evaluation)}{played(evaluation)}"
    )


def played(evaluation: Evaluation) -> str:
    """Says how many turns episodes had and why they ended; nothing without an environment."""
    said = evaluation.episodes
    if not said:
        return ""
    shares = {name.removeprefix("stops/"): share for name, share in said.items() if name.startswith("stops/") and share}
    ordered = sorted(shares, key=lambda stop: -shares[stop])
    return f"; {said['turns']:.2f} turns, " + ", ".join(f"{shares[stop]:.0%} {stop}" for stop in ordered)


def never_right(evaluation: Evaluation) -> str:
    """Says what to know where no answer at all was right: how far the judge's scores went, and where right begins.

    Empty where one was, or where that was not kept.
    """
    highest, threshold = evaluation.highest, evaluation.settings.correct_at
    if highest is None or reaches(highest, threshold):
        return ""
    otherwise = " (state another correct_at in the reward, or name another judge)" if highest > 0 else ""
    return (
        f"no answer was right: the highest score of {evaluation.judge} is {highest:.4g}, and an answer is right from "
        f"{threshold:.4g} on{otherwise}"
    )


def judged_by(evaluation: Evaluation) -> str:
    """Writes ``; correct: by answer; mean answer 0.720, format 0.983``, where it is known who judged."""
    means = ", ".join(f"{name} {value:.3f}" for name, value in evaluation.reward_means.items())
    return (f"; correct: by {evaluation.judge}" + f"; mean {means}" * bool(means)) if evaluation.judge else ""
