"""Carries a recipe out in its directory: opens what each stage needs, keeps what it leaves, evaluates, reports."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from groupwise.card import model_card
from groupwise.checkpoint import RECORD, complete_directory, load_state, write_atomically, write_json
from groupwise.describe import describe
from groupwise.directory import RunDirectory
from groupwise.engines.lazy import Lazy
from groupwise.errors import UserError
from groupwise.evaluation import Evaluation, compare, evaluate
from groupwise.keeper import Keeper
from groupwise.learners import Local, NewModel
from groupwise.learners.local import LocalLearner
from groupwise.learners.reference import check_same_ids
from groupwise.learners.scorer import ScorerLearner
from groupwise.loop import Progress, train
from groupwise.protocols import RolloutEngine, Sink
from groupwise.render import Renderer
from groupwise.rewards.model import with_scorers
from groupwise.runs import Outcome, Run, as_record, check
from groupwise.scorer_evaluation import ScorerEvaluation, evaluate_scorer, held_out_groups
from groupwise.seeding import stable_seed
from groupwise.sinks import Sinks
from groupwise.sources import FrozenPolicy, MonteCarloSteps, World
from groupwise.stage import Stage

SHOWN_LETTERS = 300  # of the first prompt
AnyLearner = LocalLearner | ScorerLearner


def run(
    recipe: Run, out: Path | str | None = None, fresh: bool = False, sinks: Sequence[Sink] | None = None
) -> Outcome:
    """Runs a recipe in ``out`` (``runs/<name>``), continuing what is there; ``fresh`` starts over.

    ``sinks`` hear of it beside metrics.jsonl, TensorBoard and the report, which are always written; None: the
    terminal. Raises UserError for what the user can mend; then nothing has been written.
    """
    check(recipe)
    place = RunDirectory(Path(out) if out is not None else Path("runs") / recipe.name)
    with place.claim(describe(recipe), fresh):
        return Session(recipe, place, sinks).run()


class Session:
    """One call of ``run`` on a claimed directory."""

    def __init__(self, recipe: Run, place: RunDirectory, sinks: Sequence[Sink] | None) -> None:
        from groupwise.sinks.console import Terminal
        from groupwise.sinks.jsonl import JsonLines
        from groupwise.sinks.tensorboard import TensorBoard

        self.recipe, self.place = recipe, place
        self.named: dict[str, Path | str] = {}
        shown = [Terminal(recipe.name)] if sinks is None else list(sinks)
        self.sink = Sinks(*shown, JsonLines(place.metrics), TensorBoard(place.tensorboard))

    def run(self) -> Outcome:
        """Every stage that is not done yet, in order."""
        try:
            return self._run()
        except BaseException:
            self.sink.close({})
            raise

    def _run(self) -> Outcome:
        if self.place.finished:
            self.sink.close({})
            return self._outcome(already_finished=True)
        if not self.place.read():
            self.place.write_record(as_record(self.recipe))
        for warning in check(self.recipe):
            self.sink.note(warning)
        model = first = self._first_model()
        for stage in self.recipe.stages:
            left = self.place.model(stage.name)
            if not left.exists() or self._to_evaluate(stage):
                self.named = {"first": first, "last": model}
                self._stage(stage, self._left_by(stage.start))
            model = left
        record = self.place.read()
        self.place.write_record({"seconds": round(time.time() - record["started"], 1)})
        self._report()
        outcome = self._outcome()
        self.sink.close({"directory": str(self.place.path), "report": str(self.place.report)})
        return outcome

    def _first_model(self) -> Path | str:
        if not isinstance(self.recipe.model, NewModel):
            return self.recipe.model
        made = self.place.model("new")
        if not made.exists():
            with complete_directory(made) as aside:
                self.recipe.model.save(aside, stable_seed(self.recipe.seed, "weights"))
        return made

    def _stage(self, stage: Stage, model: Path | str) -> None:
        """Trains (from the newest checkpoint), leaves the model, evaluates it."""
        left, resumed = self.place.model(stage.name), self.place.newest_checkpoint(stage.name)
        trained = left.exists()
        learner, engine = self._open(stage, left if trained else resumed or model, model)
        opened = partial(with_scorers, directory_of=self._left_by, learner=self._learner, tokenizer=learner.tokenizer)
        task = replace(stage.task, rewards=opened(stage.task.rewards), referee=opened(stage.task.referee))
        stage = replace(stage, task=task)
        renderer = Renderer(
            learner.tokenizer, task.system, task.chat, str(model), learner.stop_tokens, task.stop_strings
        )
        world = World(stage, renderer, engine, self.recipe.seed, self.sink.phase, self.sink.note)
        world = replace(world, store=self.place.gathered, open_policy=partial(self._open_policy, learner.tokenizer))
        if not trained:
            self._train(stage, world, learner, resumed)
        if self._to_evaluate(stage):
            engine.load(learner.weights(), learner.version)
            if isinstance(learner, ScorerLearner):
                self._evaluate_scorer(world, learner)
            else:
                self._evaluate(stage, engine, renderer)

    def _open(self, stage: Stage, present: Path | str, begun: Path | str) -> tuple[AnyLearner, RolloutEngine]:
        """A policy and its engine; or a scorer, and an engine on the policy whose trunk it begins with."""
        if not stage.algorithm.trains_scorer:
            policy = self._learner.open(present)
            self._tell(policy)
            return policy, self.recipe.engine.open(policy.model, self.sink.note)
        scorer = self._learner.open_scorer(present, stable_seed(self.recipe.seed, stage.name, "head"))
        self._tell(scorer)
        return scorer, Lazy(scorer.context_tokens, partial(self._engine_on, scorer.tokenizer, begun))

    @property
    def _learner(self) -> Local:
        """With the CPU threads that the run began with: another number of them rounds differently."""
        given = self.recipe.learner
        return replace(given, threads=given.threads or self.place.read().get("threads", 0))

    def _tell(self, learner: AnyLearner) -> None:
        """Once a run: the threads that were chosen, and why learning is slower than it could be."""
        if "threads" in self.place.read():
            return
        self.place.write_record({"threads": learner.threads})
        if not self.recipe.learner.threads and learner.device == "cpu":
            self.sink.note(f"learner: {learner.threads} CPU threads, the fastest in a trial")
        if learner.slower:
            self.sink.note(f"learner: {learner.slower}; padding is computed and prompts are not shared, slower")

    def _train(self, stage: Stage, world: World, learner: AnyLearner, resumed: Path | None) -> None:
        """From the checkpoint ``resumed``, or from the beginning; leaves the stage's model."""
        progress, algorithm = Progress(), stage.algorithm
        reference = algorithm.reference.model if algorithm.needs_reference else None
        learner.start_stage(reference, algorithm.critic.network)
        if resumed:
            state, saved = load_state(resumed)
            learner.load_state(state)
            progress = Progress(**saved)
        if stage.task.source:
            self.sink.note(f"{stage.name}: {stage.task.source}")
        self.sink.note(f"{stage.name}: the model sees {shown_prompt(world.renderer, stage)}")
        self.sink.stage(stage.name, stage.steps, progress.step)
        keeper = Keeper(stage, world, learner, self.recipe.evaluation, self.place, self.sink)
        train(stage, world, learner, self.sink, progress, keeper.after_step, keeper.checkpoint)
        with complete_directory(self.place.model(stage.name)) as aside:
            learner.save(aside)
            write_json(aside / RECORD, self.place.read())
            write_atomically(aside / "README.md", model_card(self.recipe, stage, None))
        self.place.drop_checkpoints(stage.name)

    def _open_policy(self, ours: Any, name: str) -> RolloutEngine:
        """An engine on another model of our tokenizer, by the names of ``_left_by``."""
        return self._engine_on(ours, self._left_by(name))

    def _left_by(self, name: str) -> Path | str:
        """The model of the stage of that name; the run's first model, or what the stage before left; where there is no
        such stage, it is a directory or hub name itself."""
        if name in self.named:
            return self.named[name]
        if name not in [stage.name for stage in self.recipe.stages]:
            return name
        if not self.place.model(name).exists():
            raise UserError(f"stage {name} has left no model yet; expected the name of an earlier stage")
        return self.place.model(name)

    def _engine_on(self, ours: Any, source: Path | str) -> RolloutEngine:
        other = self._learner.open(source)
        check_same_ids(str(source), other.tokenizer.get_vocab(), ours.get_vocab())
        return self.recipe.engine.open(other.model, self.sink.note)

    def _to_evaluate(self, stage: Stage) -> bool:
        judged = stage.algorithm.trains_scorer or stage.task.rewards
        wanted = self.recipe.evaluation.problems and len(stage.task.held_out) and judged
        return bool(wanted) and stage.name not in {*self._evaluations(), *self._scorers()}

    def _evaluate(self, stage: Stage, engine: RolloutEngine, renderer: Renderer) -> None:
        plan, done = self.recipe.evaluation, self._evaluations()
        self.sink.note(f"{stage.name}: evaluating on held-out problems of {stage.task.name}")
        done[stage.name] = evaluate(
            engine,
            renderer,
            stage.task,
            problems=plan.problems,
            samples=plan.samples,
            sampled_problems=plan.sampled_problems,
            temperature=plan.temperature,
            max_tokens=plan.max_completion_tokens,
            seed=stable_seed(self.recipe.seed, "evaluation"),
            on_progress=lambda at, total: self.sink.phase("evaluate", at, total),
        )
        first, last = next(iter(done.values())), done[stage.name]
        comparison = compare(first, last) if len(done) > 1 and first.ids == last.ids else None
        self._keep_evaluations(models=done, comparison=comparison and comparison.to_json())
        write_atomically(self.place.model(stage.name) / "README.md", model_card(self.recipe, stage, last))
        self.sink.note(f"{stage.name}: {headline(last)}")

    def _evaluate_scorer(self, world: World, learner: ScorerLearner) -> None:
        """On what the stage's source makes of held-out rows; where that is nothing, says so and goes on."""
        stage = world.stage
        self.sink.note(f"{stage.name}: evaluating on held-out rows of {stage.task.name}")
        try:
            found = evaluate_scorer(stage, learner, held_out_groups(world, self._held_out_rows(stage)))
        except (UserError, ValueError) as error:
            self.sink.note(f"{stage.name}: not evaluated on held-out rows: {error}")
            return
        self._keep_evaluations(scorers=self._scorers() | {stage.name: found})
        write_atomically(self.place.model(stage.name) / "README.md", model_card(self.recipe, stage, found))
        self.sink.note(f"{stage.name}: {found.headline()}")

    def _held_out_rows(self, stage: Stage) -> int:
        """Fewer where each is sampled many times over, as in an evaluation of a policy."""
        plan, samples = self.recipe.evaluation, isinstance(stage.algorithm.source, FrozenPolicy | MonteCarloSteps)
        return min(plan.problems, plan.sampled_problems) if samples and plan.sampled_problems else plan.problems

    def _keep_evaluations(self, **changed: Any) -> None:
        """evaluation.json, with what changed."""
        kept = {"models": self._evaluations(), "comparison": self._kept("comparison"), "scorers": self._scorers()}
        kept |= changed
        for kind in ("models", "scorers"):
            kept[kind] = [{"stage": name, "evaluation": found.to_json()} for name, found in kept[kind].items()]
        write_json(self.place.evaluation, kept)

    def _kept(self, part: str) -> Any:
        """Of evaluation.json; None where it has none."""
        text = self.place.evaluation.read_text(encoding="utf-8") if self.place.evaluation.exists() else "{}"
        return json.loads(text).get(part)

    def _evaluations(self) -> dict[str, Evaluation]:
        """Of policies by stage, in the order they were made."""
        return {one["stage"]: Evaluation.from_json(one["evaluation"]) for one in self._kept("models") or ()}

    def _scorers(self) -> dict[str, ScorerEvaluation]:
        """Of scorers by stage."""
        return {one["stage"]: ScorerEvaluation.from_json(one["evaluation"]) for one in self._kept("scorers") or ()}

    def _report(self) -> None:
        from groupwise.sinks.report import write_report

        write_report(self.place.path)

    def _outcome(self, already_finished: bool = False) -> Outcome:
        last = self.place.model(self.recipe.stages[-1].name)
        return Outcome(self.place.path, last, self._evaluations(), already_finished, self._scorers())


def headline(evaluation: Evaluation) -> str:
    """The two numbers that matter, with their 95 % intervals."""
    greedy, sampled = evaluation.greedy, evaluation.pass_at_1
    return (
        f"greedy accuracy {greedy.value:.3f} [{greedy.low:.3f}, {greedy.high:.3f}], "
        f"pass@1 {sampled.value:.3f} [{sampled.low:.3f}, {sampled.high:.3f}] on {evaluation.problems} problems"
    )


def shown_prompt(renderer: Renderer, stage: Stage) -> str:
    """The first prompt as the model gets it, special tokens and all, on one line."""
    if not len(stage.task.train):
        return "no prompt: the task has no rows"
    tokens = renderer.prompt(stage.task.train[0]).tokens
    text = repr(renderer.tokenizer.decode(list(tokens), skip_special_tokens=False))
    return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 40]} ... {text[-35:]}"
