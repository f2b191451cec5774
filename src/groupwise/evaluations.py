"""``evaluation.json``: how good each stage's model is. How long that took stands in run.json."""

from __future__ import annotations

import json
from typing import Any

from groupwise.checkpoint import write_json
from groupwise.comparison import comparable
from groupwise.directory import RunDirectory
from groupwise.evaluation import Evaluation, compare
from groupwise.scorer_evaluation import ScorerEvaluation

SECONDS = "evaluation_seconds"


class Evaluations:
    """Those of one run."""

    def __init__(self, place: RunDirectory) -> None:
        self.place = place

    @property
    def models(self) -> dict[str, Evaluation]:
        """Of policies by stage, in the order they were made."""
        took = self.place.read().get(SECONDS, {})
        return {
            one["stage"]: Evaluation.from_json(one["evaluation"] | {"seconds": took.get(one["stage"], 0.0)})
            for one in self._kept("models") or ()
        }

    @property
    def scorers(self) -> dict[str, ScorerEvaluation]:
        """Of scorers by stage."""
        return {one["stage"]: ScorerEvaluation.from_json(one["evaluation"]) for one in self._kept("scorers") or ()}

    def add_model(self, stage: str, found: Evaluation) -> None:
        """And the comparison with the first one, where both are of the same problems."""
        models = self.models | {stage: found}
        first = next(iter(models.values()))
        comparison = compare(first, found) if len(models) > 1 and comparable(first, found) else None
        self.place.write_record({SECONDS: {name: one.seconds for name, one in models.items()}})
        self._write(models=models, comparison=comparison and comparison.to_json())

    def add_scorer(self, stage: str, found: ScorerEvaluation) -> None:
        self._write(scorers=self.scorers | {stage: found})

    def _write(self, **changed: Any) -> None:
        kept: dict[str, Any] = {"models": self.models, "comparison": self._kept("comparison"), "scorers": self.scorers}
        kept |= changed
        for kind in ("models", "scorers"):
            kept[kind] = [{"stage": name, "evaluation": found.to_json()} for name, found in kept[kind].items()]
        for one in kept["models"]:
            del one["evaluation"]["seconds"]
        write_json(self.place.evaluation, kept)

    def _kept(self, part: str) -> Any:
        """Of evaluation.json; None where it has none."""
        text = self.place.evaluation.read_text(encoding="utf-8") if self.place.evaluation.exists() else "{}"
        return json.loads(text).get(part)


def headline(evaluation: Evaluation) -> str:
    """The two numbers that matter, with their 95 % intervals, who judged, and the mean of each reward."""
    greedy, sampled = evaluation.greedy, evaluation.pass_at_1
    return (
        f"greedy accuracy {greedy.value:.3f} [{greedy.low:.3f}, {greedy.high:.3f}], "
        f"pass@1 {sampled.value:.3f} [{sampled.low:.3f}, {sampled.high:.3f}] on {evaluation.problems} problems"
        f"{judged_by(evaluation)}"
    )


def judged_by(evaluation: Evaluation) -> str:
    """``; correct: by answer; mean answer 0.720, format 0.983``, where it is known who judged."""
    means = ", ".join(f"{name} {value:.3f}" for name, value in evaluation.reward_means.items())
    return (f"; correct: by {evaluation.judge}" + f"; mean {means}" * bool(means)) if evaluation.judge else ""
