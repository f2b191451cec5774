"""A session carries a recipe out in its directory: opens what each stage needs, keeps what it leaves, evaluates,
reports."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from groupwise.config.describe import describe
from groupwise.errors import UserError
from groupwise.kernels.malloc import share_freed_memory
from groupwise.kernels.tile_threads import keep_to_available_threads
from groupwise.learners import NewModel
from groupwise.learners.thread_trial import one_thread_plan
from groupwise.learning.trainable import Trainable
from groupwise.protocols import Sink
from groupwise.rewards.model import close_scorers
from groupwise.runs import resume
from groupwise.runs.bad_batches import refuse_broken
from groupwise.runs.changes import Changes
from groupwise.runs.directory import RunDirectory
from groupwise.runs.environment import command_record, conditions
from groupwise.runs.evaluations import Evaluations
from groupwise.runs.evaluator import Evaluator
from groupwise.runs.model_card import model_card
from groupwise.runs.opening import Opener
from groupwise.runs.recipe import Outcome, Run, as_record, directory_of, validate
from groupwise.runs.reporting import report_of_stop, write_report
from groupwise.runs.retention import BEST, rotate
from groupwise.runs.reward_scales import with_reward_scales
from groupwise.runs.stage_recorder import StageRecorder
from groupwise.seeding import stable_seed
from groupwise.sinks import Sinks
from groupwise.sinks.trackers import RunInfo
from groupwise.sources import DrawContext, restore_pending
from groupwise.storage.atomic import (
    RECORD,
    complete_directory,
    full_disk_named,
    require_space,
    write_atomically,
    write_json,
)
from groupwise.storage.tensors import load_progress
from groupwise.tasks.questions import Questions
from groupwise.tasks.task_renderer import date_record, shown_prompt, template_record
from groupwise.training.intake import template_notes, with_usable_rows
from groupwise.training.interrupts import Interrupted, Stopped, interruptible
from groupwise.training.loop import Progress, load_newest, train
from groupwise.training.memory_trial import rehearse
from groupwise.training.stage import Stage, in_stage


def run(
    recipe: Run,
    out: Path | str | None = None,
    fresh: bool = False,
    sinks: Sequence[Sink] | None = None,
    command: Sequence[str] = (),
) -> Outcome:
    """Runs a recipe in ``out`` (``runs/<name>``), continuing what is there; ``fresh`` starts over.

    ``sinks`` hear of it beside metrics.jsonl and the report, which are always written, and the trackers of the recipe;
    None: the terminal. ``command``: the words behind ``groupwise run``, which the record keeps so that the directory
    alone says how to go on. Raises UserError for what the user can mend; then nothing has been written.
    """
    warnings = validate(recipe)
    share_freed_memory()
    place = RunDirectory(directory_of(out, recipe.name), command_record(command))
    with place.claim(describe(recipe), fresh) as changes, one_thread_plan():
        return Session(recipe, place, sinks, changes, warnings).run()


class Session:
    """This is one call of ``run`` on a directory that no other run may write to meanwhile."""

    def __init__(
        self,
        recipe: Run,
        place: RunDirectory,
        sinks: Sequence[Sink] | None,
        changes: Changes,
        warnings: Sequence[str],
    ) -> None:
        from groupwise.sinks.console import Terminal
        from groupwise.sinks.jsonl import JsonLines
        from groupwise.sinks.trackers import TensorBoard, is_installed

        self.recipe, self.place, self.evaluations = recipe, place, Evaluations(place)
        self.named: dict[str, Path | str] = {}
        self._open_learners = ExitStack()
        self.changes, self.warnings, last = changes, warnings, recipe.stages[-1]
        self.ends = {last.name: last.steps}
        shown = [Terminal(recipe.name)] if sinks is None else list(sinks)
        self.trackers = recipe.sinks
        if TensorBoard() not in recipe.sinks and is_installed("tensorboard"):
            self.trackers += (TensorBoard(),)
        self.sink = Sinks(*shown, essential=[JsonLines(place.metrics)])
        self.evaluator = Evaluator(recipe, place, self.evaluations, self.sink)

    def run(self) -> Outcome:
        """Every stage that is not done yet, in order. Raises Stopped where a signal asked for it."""
        try:
            with full_disk_named(self.place.record):
                return self._run()
        except Interrupted:
            self.sink.close(report_of_stop(self.place, self.sink.note))
            raise Stopped("stopped between two steps") from None
        except BaseException as end:
            self.sink.close(report_of_stop(self.place, self.sink.note) if isinstance(end, Stopped) else {})
            raise

    def _run(self) -> Outcome:
        if self.place.finished:
            if not self.place.report.exists():
                write_report(self.place.path)
            self.sink.close({})
            return self._outcome(already_finished=True)
        if not self.place.read():
            self.place.write_record(as_record(self.recipe))
        else:
            resume.note_changes(self.place, conditions(self.recipe.stages), self.sink.note)
            resume.note_unreadable(self.place, self.sink.note)
        if fewer := keep_to_available_threads():
            self.sink.note(fewer)
        self._open_trackers()
        if self.place.kept:
            self.sink.note(f"kept, since no run wrote them: {', '.join(self.place.kept)}")
        for words in self.changes.words:
            self.sink.note(f"goes on with {words}")
        for warning in self.warnings:
            self.sink.note(warning)
        resume.record_guards(self.place)
        model = first = self._first_model()
        for stage in self.recipe.stages:
            left = self.place.model(stage.name)
            if left.exists():
                resume.refuse_damaged_model(self.place, stage.name)
            if not left.exists() or self.evaluator.due(stage):
                self.named = {"first": first, "last": model}
                with ExitStack() as self._open_learners:
                    self._stage(stage, self._left_by(stage.start))
            rotate(self.place, stage.name, self.recipe.checkpoints, finished=True, end=self.ends.get(stage.name))
            model = left
        record = self.place.read()
        self.place.write_record({"seconds": round(time.time() - record["started"], 1)})
        write_report(self.place.path)
        outcome = self._outcome()
        self.sink.close({"directory": str(self.place.path), "report": str(self.place.report)})
        return outcome

    def _open_trackers(self) -> None:
        """Opens the trackers once it is known what the run is; one that cannot be opened is named, and the run does
        without it."""
        record = self.place.read()
        identity = f"{self.recipe.name}-{int(record['started'])}"
        about = RunInfo(self.recipe.name, self.place.path, identity, record["recipe"])
        for tracker in self.trackers:
            try:
                self.sink.sinks.append(tracker.open(about))
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                self.sink.note(f"sink {type(tracker).__name__}: not opened, the run goes on without it: {why}")

    def _first_model(self) -> Path | str:
        if not isinstance(self.recipe.model, NewModel):
            return self.recipe.model
        made = self.place.model("new")
        if made.exists():
            resume.refuse_damaged_model(self.place, "new")
        else:
            with complete_directory(made) as aside:
                self.recipe.model.save(aside, stable_seed(self.recipe.seed, "weights"))
        return made

    def _stage(self, stage: Stage, model: Path | str) -> None:
        """Trains (from the newest checkpoint), leaves the model, evaluates it."""
        left = self.place.model(stage.name)
        trained = left.exists()
        resumed = None if trained else resume.whole_checkpoint(self.place, stage.name, self.sink.note)
        with interruptible():
            present = left if trained and not self._adapters_beside(stage) else resumed or model
            learner = self._opener.learner(stage, present)
            self._open_learners.callback(learner.close)
            self._tell(learner)
            opener = self._opener  # with the threads that the run has from now on
            engine = opener.engine(stage, learner, present, model)
            if trained and present != left and learner.policy:
                learner.policy.load_left(left)
            task = opener.task(stage.task, learner.tokenizer)
            self._open_learners.callback(close_scorers, (*task.rewards, *task.referee))
        stage, left_out = with_usable_rows(replace(stage, task=task))
        context = opener.context(stage, learner, engine, model, self.place.read())
        self.place.write_record(date_record(context.renderer))
        context = replace(context, on_phase=self.sink.phase, store=self.place.gathered)
        end = {"prompts": stage.steps * stage.prompts_per_step}  # evaluations judge as at the end
        context = context.at(stage.steps, end, serve=partial(load_newest, engine, learner))
        most, begun = self.recipe.evaluation.max_completion_tokens, resumed is not None or trained
        stage = with_reward_scales(stage, context, learner, self.place, most, begun)
        context = in_stage(stage, context)
        if not trained:
            for line in (*left_out, *(f"{stage.name}: {line}" for line in template_notes(stage, context.renderer))):
                self.sink.note(line)
            self._train(stage, context, learner, resumed, model)
        if self.evaluator.due(stage):
            engine.load(learner.weights(), learner.version)
            if stage.algorithm.source.reads_documents():
                self.evaluator.evaluate_text(stage, context, learner, stage.name)
            elif learner.policy:
                self.evaluator.evaluate(stage, context)
            else:
                self.evaluator.evaluate_scorer(stage, context, learner)

    def _adapters_beside(self, stage: Stage) -> bool:
        """Says whether the policy is more than the weights of its saved model, which its dtype would round."""
        return self.recipe.learner.rounds_adapters and not stage.algorithm.trains_scorer

    @property
    def _opener(self) -> Opener:
        """Returns what opens learners, with the CPU threads that the run began with: another number of them rounds
        differently."""
        learner = self.recipe.learner.with_threads(self.place.read().get("threads", 0))
        return Opener(replace(self.recipe, learner=learner), self._left_by, self.sink.note)

    def _tell(self, learner: Trainable) -> None:
        """Says, once a run, which number of threads was chosen, and why learning is slower than it could be."""
        if "threads" in self.place.read():
            return
        self.place.write_record({"threads": learner.threads})
        for line in learner.remarks():
            self.sink.note(f"learner: {line}")

    def _train(
        self, stage: Stage, context: DrawContext, learner: Trainable, resumed: Path | None, start: Path | str
    ) -> None:
        """Trains a stage from the checkpoint ``resumed``, or from the beginning; leaves the stage's model."""
        progress, algorithm = Progress(), stage.algorithm
        reference = algorithm.reference.model if algorithm.needs_reference else None
        with interruptible():
            learner.start_stage(reference, algorithm.critic.network)
            if resumed:
                learner.read(resumed)
                progress = Progress.of({name: value for name, value in load_progress(resumed).items() if name != BEST})
                restore_pending(algorithm.source, context, progress.position, resumed, progress.pending)
                resume.record_resumption(self.place, stage.name, progress.step)
        said = "" if stage.task.environment is None else ", with what the environment says first in it"
        shown = f"the model sees {shown_prompt(context.renderer, stage.task)}{said}"
        self.sink.note(f"{stage.name}: {'; '.join(filter(None, (stage.task.source, shown)))}")
        if tried := rehearse(stage, context, learner.memory, self.recipe.learner.tokens_per_micro_batch):
            self.sink.note(f"{stage.name}: {tried}")
        if not resumed and learner.policy:
            self.evaluator.evaluate_start(stage, context, learner, start)
        self.sink.stage(stage.name, stage.steps, progress.step)
        plan, kept = self.recipe.evaluation, self.recipe.checkpoints
        keeper = StageRecorder(stage, context, learner, plan, kept, self.place, self.sink, progress)
        try:
            train(stage, context, learner, self.sink, progress, keeper.after_step, keeper.checkpoint)
            keeper.drain()
        except Interrupted:
            keeper.give_up_step()
        finally:
            keeper.close()
        refuse_broken(stage.name, learner.weights())
        if stage.name in self.ends:
            keeper.keep_end()
        self._leave(stage, context, learner)

    def _leave(self, stage: Stage, context: DrawContext, learner: Trainable) -> None:
        """Writes the model of a stage that is done, with what it was asked."""
        left = self.place.model(stage.name)
        require_space(left.parent, learner.memory.saved_bytes(), f"the model of {stage.name}")
        with complete_directory(left) as aside:
            learner.save(aside)
            asked = (
                template_record(stage.task, context.renderer)
                | Questions.of(stage.task, stage.algorithm.source).record()
            )
            write_json(aside / RECORD, self.place.lasting_record() | asked)
            write_atomically(aside / "README.md", model_card(self.recipe, stage, None))
        if learner.policy and (told := learner.policy.merge_loss()):
            self.sink.note(f"{stage.name}: {told}")

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

    def _outcome(self, already_finished: bool = False) -> Outcome:
        last = self.place.model(self.recipe.stages[-1].name)
        return Outcome(self.place.path, last, self.evaluations.models, already_finished, self.evaluations.scorers)
