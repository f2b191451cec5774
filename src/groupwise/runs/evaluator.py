"""A run's evaluations: of the model that it begins with, and of what each stage leaves."""

from __future__ import annotations

from pathlib import Path

from groupwise.errors import UserError
from groupwise.evaluation.evaluate import Evaluation, evaluate_plan
from groupwise.evaluation.moments import before
from groupwise.evaluation.texts import evaluate_text, text_difference
from groupwise.learners import NewModel
from groupwise.learning.trainable import Trainable
from groupwise.output.counting import signed
from groupwise.output.sample_completions import to_look_at
from groupwise.protocols import Sink
from groupwise.runs.directory import RunDirectory
from groupwise.runs.evaluations import Evaluations, changes, headline, never_right
from groupwise.runs.model_card import model_card
from groupwise.runs.recipe import Run
from groupwise.runs.scorer_evaluation import evaluate_scorer, held_out_groups
from groupwise.seeding import stable_seed
from groupwise.sources import DrawContext
from groupwise.storage.atomic import write_atomically
from groupwise.tasks.held_out import first_of_each_set
from groupwise.training.interrupts import interruptible
from groupwise.training.stage import Stage
from groupwise.types import Rollout


class Evaluator:
    """Evaluates, keeps what was found, writes the model cards, and says the numbers."""

    def __init__(self, recipe: Run, place: RunDirectory, evaluations: Evaluations, sink: Sink) -> None:
        self.recipe, self.place, self.evaluations, self.sink = recipe, place, evaluations, sink

    def due(self, stage: Stage) -> bool:
        """Says whether the model that the stage leaves can be evaluated, and is not yet."""
        return self._can_evaluate(stage) and stage.name not in {
            *self.evaluations.models,
            *self.evaluations.scorers,
            *self.evaluations.texts,
        }

    def evaluate_start(self, stage: Stage, context: DrawContext, learner: Trainable, start: Path | str) -> None:
        """The model that the run's first policy stage begins with, once, where it is not one of random weights."""
        policies = [each.name for each in self.recipe.stages if not each.algorithm.trains_scorer]
        first = next((each for each in self.recipe.stages if each.name in policies and self._can_evaluate(each)), None)
        is_new = isinstance(self.recipe.model, NewModel) and start == self.place.model("new")
        if not self.recipe.evaluate_first or first is None or first.name != stage.name or is_new:
            return
        if self.evaluations.models or self.evaluations.texts:
            return
        if stage.algorithm.source.reads_documents():
            self.evaluate_text(stage, context, learner, before(stage.name))
            return
        context.engine.load(learner.weights(), learner.version)
        try:
            self.evaluations.add_model(before(stage.name), self._evaluated(stage, context, before(stage.name)))
        except UserError as error:  # the training will say what is wrong, where it is
            self.sink.note(f"{before(stage.name)}: not evaluated: {error}")

    def evaluate(self, stage: Stage, context: DrawContext) -> None:
        """The policy that the stage leaves, and how it differs from the first one that was evaluated."""
        found = self._evaluated(stage, context, stage.name)
        first = next(iter(self.evaluations.models.items()), None)
        write_atomically(self.place.model(stage.name) / "README.md", model_card(self.recipe, stage, found, first))
        self.evaluations.add_model(stage.name, found)  # after the card: what is there is not made again
        for line in changes(self.evaluations.models):
            self.sink.note(line)

    def _evaluated(self, stage: Stage, context: DrawContext, name: str) -> Evaluation:
        self.sink.note(f"{name}: evaluating on held-out problems of {stage.task.name}")
        greedy: list[Rollout] = []
        with interruptible():
            found = evaluate_plan(
                context.engine,
                context.renderer,
                stage.task,
                self.recipe.evaluation,
                seed=stable_seed(self.recipe.seed, "evaluation"),
                on_progress=lambda at, total: self.sink.phase("evaluate", at, total),
                state=context.state,
                on_greedy=greedy.extend,
            )
        self.sink.note(f"{name}: {headline(found)}")
        if told := never_right(found):
            self.sink.note(f"{name}: {told}")
        for part in found.sets:
            self.sink.note(f"{name}, {part}: {headline(found.of_set(part))}")
        self.sink.completions(name, to_look_at(greedy, self.recipe.seed))
        return found

    def evaluate_scorer(self, stage: Stage, context: DrawContext, learner: Trainable) -> None:
        """Evaluates a scorer on what the stage's source makes of held-out rows; where that is nothing, says so and goes
        on."""
        self.sink.note(f"{stage.name}: evaluating on held-out rows of {stage.task.name}")
        try:
            with interruptible():
                found = evaluate_scorer(stage, learner, held_out_groups(stage, context, self._held_out_rows(stage)))
        except (UserError, ValueError) as error:
            self.sink.note(f"{stage.name}: not evaluated on held-out rows: {error}")
            return
        write_atomically(self.place.model(stage.name) / "README.md", model_card(self.recipe, stage, found))
        self.evaluations.add_scorer(stage.name, found)
        self.sink.note(f"{stage.name}: {found.headline()}")

    def evaluate_text(self, stage: Stage, context: DrawContext, learner: Trainable, name: str) -> None:
        """Bits per byte of the learner's present weights on held-out documents; ``name`` is what they are called."""
        self.sink.note(f"{name}: evaluating on held-out documents of {stage.task.name}")
        rows = first_of_each_set(stage.task.held_out, self.recipe.evaluation.problems)
        with interruptible():
            found = evaluate_text(learner, context.renderer, rows, stage.task.name)
        if name == stage.name:
            write_atomically(self.place.model(name) / "README.md", model_card(self.recipe, stage, found))
        first = next(iter(self.evaluations.texts.values()), None)
        self.evaluations.add_text(name, found)
        self.sink.note(f"{name}: {found.headline()}")
        if first is not None and first.ids == found.ids:
            change = text_difference(first, found)
            value, low, high = (signed(each, 4) for each in (change.value, change.low, change.high))
            self.sink.note(f"{name}: paired {value} [{low}, {high}] bits per byte")

    def _can_evaluate(self, stage: Stage) -> bool:
        judged = stage.algorithm.trains_scorer or stage.task.is_judged or stage.algorithm.source.reads_documents()
        return bool(self.recipe.evaluation.problems and len(stage.task.held_out) and judged)

    def _held_out_rows(self, stage: Stage) -> int:
        """Returns the rows that are asked: fewer where each is sampled many times over, as in an evaluation of a
        policy."""
        plan, samples = self.recipe.evaluation, stage.algorithm.source.max_completion_tokens > 0
        return min(plan.problems, plan.sampled_problems) if samples and plan.sampled_problems else plan.problems
