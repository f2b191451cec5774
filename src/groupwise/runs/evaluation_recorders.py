"""The quick evaluations inside a stage, as recorders: of a policy, and of a scorer."""

from __future__ import annotations

from groupwise.errors import UserError
from groupwise.evaluation.texts import evaluate_text
from groupwise.learning.record import StepRecord
from groupwise.learning.trainable import Trainable
from groupwise.output.sample_completions import to_look_at
from groupwise.protocols import Sink
from groupwise.runs.quick_evaluation import BITS_PER_BYTE, quick_evaluation
from groupwise.runs.recorder import Recorder
from groupwise.runs.scorer_evaluation import evaluate_scorer, held_out_groups
from groupwise.sources import DrawContext
from groupwise.tasks.held_out import first_of_each_set
from groupwise.training.loop import Progress
from groupwise.training.stage import HeldOut, Stage
from groupwise.types import Rollout


def evaluation_due(stage: Stage, step: int) -> bool:
    """Says whether a step ends with a quick evaluation."""
    every = stage.evaluate_every
    return bool(every and len(stage.task.held_out)) and (step == 1 or step % every == 0)


class PolicyEvaluations(Recorder):
    """The quick evaluations of a policy."""

    def __init__(self, stage: Stage, context: DrawContext, learner: Trainable, held_out: HeldOut, sink: Sink) -> None:
        self.stage, self.context, self.learner, self.held_out, self.sink = stage, context, learner, held_out, sink
        self.greedy: list[Rollout] = []

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Evaluates the present weights on the first held-out problems, where that is due."""
        if not evaluation_due(self.stage, progress.step):
            return {}
        self.stage.algorithm.source.pause(self.context)
        self.context.engine.load(self.learner.weights(), self.learner.version)
        return quick_evaluation(self.context, self.held_out, self.greedy.extend)

    def checkpoint(self, progress: Progress) -> None:
        """Shows the greedy completions of the step's evaluation, behind its numbers."""
        if self.greedy:
            chosen = to_look_at(self.greedy, self.context.seed)
            self.sink.completions(f"{self.stage.name} at step {progress.step}", chosen)
            self.greedy = []


class ScorerEvaluations(Recorder):
    """The quick evaluations of a scorer."""

    def __init__(self, stage: Stage, context: DrawContext, learner: Trainable, held_out: HeldOut, sink: Sink) -> None:
        self.stage, self.context, self.learner, self.held_out, self.sink = stage, context, learner, held_out, sink
        self.scorable = True

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Measures the present weights on the first held-out rows, where that is due; says so, once, where those hold
        nothing."""
        if not evaluation_due(self.stage, progress.step):
            return {}
        if not self.scorable:
            return {}
        try:
            groups = held_out_groups(self.stage, self.context, self.held_out.during)
        except UserError as error:
            self.scorable = False
            self.sink.note(f"{self.stage.name}: no quick evaluations on held-out rows: {error}")
            return {}
        found = evaluate_scorer(self.stage, self.learner, groups)
        return {f"eval/{name}": measure.value for name, measure in found.measures.items()}


class TextEvaluations(Recorder):
    """The quick evaluations of a policy that reads plain text."""

    def __init__(self, stage: Stage, context: DrawContext, learner: Trainable, held_out: HeldOut, sink: Sink) -> None:
        self.stage, self.context, self.learner, self.held_out = stage, context, learner, held_out

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Measures the present weights on the first held-out documents, where that is due."""
        if not evaluation_due(self.stage, progress.step):
            return {}
        rows = first_of_each_set(self.stage.task.held_out, self.held_out.during)
        found = evaluate_text(self.learner, self.context.renderer, rows, self.stage.task.name)
        return {BITS_PER_BYTE: found.bits_per_byte.value}
