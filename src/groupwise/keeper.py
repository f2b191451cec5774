"""What is kept after each step of a stage: rollouts, groups to look at, checkpoints, quick evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from groupwise.checkpoint import RECORD, complete_directory, require_space, sync, write_json
from groupwise.directory import RunDirectory
from groupwise.doctor import Alarm, Doctor, alarms
from groupwise.errors import UserError
from groupwise.finite import BadBatches, all_finite
from groupwise.ledger import Ledger, LedgerWriter
from groupwise.loop import Progress
from groupwise.protocols import Sink
from groupwise.questions import Questions
from groupwise.quick_evaluation import quick_evaluation
from groupwise.record import StepRecord
from groupwise.recorders import Recorder, is_sampled
from groupwise.rendering import remembered
from groupwise.rewards.model import scale_metrics
from groupwise.rotation import best_step, rotate
from groupwise.saved_state import save_progress
from groupwise.scorer_evaluation import evaluate_scorer, held_out_groups
from groupwise.shown_groups import ShownGroups
from groupwise.sources import DrawContext
from groupwise.sources.pending import write_pending
from groupwise.stage import Checkpoints, HeldOut, Stage, updates_per_draw
from groupwise.stopping import Stopped, stop_signal
from groupwise.trainable import Trainable


class Keeper:
    """One stage's memory: a list of recorders. One more is a file of its own and a line in here."""

    def __init__(
        self,
        stage: Stage,
        world: DrawContext,
        learner: Trainable,
        held_out: HeldOut,
        checkpoints: Checkpoints,
        place: RunDirectory,
        sink: Sink,
        progress: Progress,
    ) -> None:
        self.stage, self.checkpoints, self.place, self.sink = stage, checkpoints, place, sink
        self.progress = progress
        self.saver = Saver(stage, world, learner, checkpoints, place, self.drain)
        evaluations = ScorerEvaluations if stage.algorithm.trains_scorer else PolicyEvaluations
        self.recorders: list[Recorder] = [
            LeftOut(stage, place, sink),
            LedgerRecorder(stage, place, sink),
            ShownGroups(stage, world, place),
            Scales(stage),
            evaluations(stage, world, learner, held_out, sink),
            Alarms(stage, learner, held_out, place, sink),
            self.saver,
        ]

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """``loop.AfterStep``."""
        metrics: dict[str, float] = {}
        for recorder in self.recorders:
            metrics |= recorder.after_step(progress, record)
        return metrics

    def checkpoint(self, progress: Progress) -> None:
        """``loop.Checkpoint``. Raises Stopped after it where a signal asked for it."""
        self.progress = progress
        for recorder in self.recorders:
            recorder.checkpoint(progress)

    def drain(self) -> list[Path]:
        """Waits until everything is written: the files since the last call."""
        return [path for recorder in self.recorders for path in recorder.drain()]

    def keep_end(self) -> None:
        """The state in which the stage ends, from which more steps go on. A disk without room for it is no failure."""
        step = self.progress.step
        if not self.checkpoints.keep_end or step in self.place.checkpoints(self.stage.name):
            return
        try:
            self.saver.save(self.progress)
        except UserError as error:
            self.sink.note(f"{self.stage.name}: its end is not kept, so that it can't be lengthened: {error}")

    def close(self) -> None:
        """Waits for what is still being written. Whoever ends in order has drained it and heard what went wrong there;
        an error that ends a stage is the one to hear."""
        for recorder in self.recorders:
            with suppress(Exception):
                recorder.close()

    def give_up_step(self) -> NoReturn:
        """The step under way has changed nothing yet: saves where the one before it left off. Raises Stopped."""
        step = self.progress.step
        if step and step not in self.place.checkpoints(self.stage.name):
            self.saver.save(self.progress)
        where = f"after step {step} of {self.stage.name}, saved"
        raise Stopped(f"stopped {where if step else 'before the first step of ' + self.stage.name}")


class LeftOut(Recorder):
    """Batches whose updates were left out because a number was not finite."""

    def __init__(self, stage: Stage, place: RunDirectory, sink: Sink) -> None:
        self.stage, self.sink = stage, sink
        self.bad_batches = BadBatches(place.bad_batches)

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Keeps the step's batch."""
        if record is not None and record.bad:
            kept = self.bad_batches.keep(self.stage.name, record, weights_of(self.stage))
            self.sink.note(
                f"{self.stage.name} {progress.step}: left out {len(record.bad)} of the step's updates: {kept}"
            )
        return {}

    def checkpoint(self, progress: Progress) -> None:
        """Raises UserError where too many steps in a row were left out."""
        stage, step = self.stage, progress.step
        if stage.most_skipped_steps and progress.skipped >= stage.most_skipped_steps:
            raise UserError(
                f"stage {stage.name}: updates of {progress.skipped} steps in a row, up to step {step}, were left out "
                f"because numbers were not finite: {self.bad_batches.last}; look there, lower the learning rate or "
                "mend the reward, and the same command continues from the last checkpoint (most_skipped_steps 0: never "
                "stops)"
            )


class LedgerRecorder(Recorder):
    """Every rollout that some policy sampled."""

    def __init__(self, stage: Stage, place: RunDirectory, sink: Sink) -> None:
        self.stage, self.ledger = stage, LedgerWriter(Ledger(place.ledger), sink.note)

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Begins to write the step."""
        if record is not None and is_sampled(record):
            self.ledger.write(self.stage.name, record, weights_of(self.stage))
        return {}

    def drain(self) -> list[Path]:
        """See ``Recorder``. Raises what went wrong in the ledger's thread."""
        return self.ledger.drain()

    def close(self) -> None:
        """Waits for what is under way."""
        self.ledger.close()


class Scales(Recorder):
    """The numbers of learned rewards that are standardised."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """The same at every step."""
        return scale_metrics(self.stage.task.rewards)


class Alarms(Recorder):
    """What the doctor says of the stage's metrics."""

    def __init__(self, stage: Stage, learner: Trainable, held_out: HeldOut, place: RunDirectory, sink: Sink) -> None:
        self.stage, self.learner, self.held_out, self.sink = stage, learner, held_out, sink
        self.doctor = Doctor(stage.name, place.metrics, place.alarms, self._alarms())

    def checkpoint(self, progress: Progress) -> None:
        """Says which alarms begin with this step."""
        for sentence in self.doctor.hear(progress.step):
            self.sink.note(f"{self.stage.name}: after step {progress.step}, {sentence}")

    def _alarms(self) -> tuple[Alarm, ...]:
        problems = min(self.held_out.during, len(self.stage.task.held_out))
        judge = self.stage.task.judge
        judged = [(each.name, problems) for each in self.stage.task.rewards if judge and each is not judge.reward]
        frozen = self.stage.algorithm.source.sampled_by() == "another"  # old by design, and weighed or copied
        return alarms(math.inf if frozen else updates_per_draw(self.stage), self.learner.half_precision, judged)


def weights_of(stage: Stage) -> dict[str, float]:
    """Of the task's rewards, by name."""
    return {reward.name: reward.weight for reward in stage.task.rewards}


def evaluation_due(stage: Stage, step: int) -> bool:
    """Whether a step ends with a quick evaluation."""
    every = stage.evaluate_every
    return bool(every and len(stage.task.held_out)) and (step == 1 or step % every == 0)


class Saver(Recorder):
    """Checkpoints. ``drain`` waits for what other recorders write."""

    def __init__(
        self,
        stage: Stage,
        world: DrawContext,
        learner: Trainable,
        checkpoints: Checkpoints,
        place: RunDirectory,
        drain: Callable[[], list[Path]],
    ) -> None:
        self.stage, self.world, self.learner = stage, world, learner
        self.checkpoints, self.place, self._drain = checkpoints, place, drain

    def checkpoint(self, progress: Progress) -> None:
        """Saves where that is due. Raises Stopped after it where a signal asked for it."""
        stage, step = self.stage, progress.step
        if step < stage.steps:
            due = stage.checkpoint_every and step % stage.checkpoint_every == 0
            worth_it = (due or self._is_best(step)) and not progress.skipped
            if stop_signal() or (worth_it and all_finite(self.learner.weights())):
                self.save(progress)
            if stop_signal():
                raise Stopped(f"stopped after step {step} of {stage.name}, saved")

    def _is_best(self, step: int) -> bool:
        return evaluation_due(self.stage, step) and best_step(self.place, self.stage.name, self.checkpoints) == step

    def save(self, progress: Progress) -> None:
        """What stands in metrics and ledger reaches the disk first: a checkpoint is never ahead of them. Draws that the
        source has made ahead of it lie in it."""
        stage, memory = self.stage, self.learner.memory
        pending = stage.algorithm.source.pending(self.world, progress.position)
        path = self.place.checkpoint(stage.name, progress.step)
        needed = memory.written_bytes() + memory.saved_bytes()
        require_space(path.parent, needed, f"the checkpoint of step {progress.step}")
        lines = (self.place.metrics, self.place.times)
        for written in (*self._drain(), *(path for path in lines if path.exists())):
            sync(written)
        with complete_directory(path) as partial:
            self.learner.save(partial)
            asked = Questions.of(stage.task, stage.algorithm.source).record()
            record = self.place.lasting_record() | remembered(stage.task, self.world.renderer) | asked
            write_json(partial / RECORD, record)
            write_pending(partial, self.world, progress.position, pending)
            self.learner.write(partial)
            save_progress(partial, replace(progress, pending=len(pending)).plain())
        rotate(self.place, stage.name, self.checkpoints, finished=False)

    def close(self) -> None:
        """Waits for what the source still draws."""
        self.stage.algorithm.source.close(self.world)


class PolicyEvaluations(Recorder):
    """The quick evaluations of a policy."""

    def __init__(self, stage: Stage, world: DrawContext, learner: Trainable, held_out: HeldOut, sink: Sink) -> None:
        self.stage, self.world, self.learner, self.held_out = stage, world, learner, held_out

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Evaluates the present weights on the first held-out problems, where that is due."""
        if not evaluation_due(self.stage, progress.step):
            return {}
        self.world.engine.load(self.learner.weights(), self.learner.version)
        return quick_evaluation(self.world, self.held_out)


class ScorerEvaluations(Recorder):
    """The quick evaluations of a scorer."""

    def __init__(self, stage: Stage, world: DrawContext, learner: Trainable, held_out: HeldOut, sink: Sink) -> None:
        self.stage, self.world, self.learner, self.held_out, self.sink = stage, world, learner, held_out, sink
        self.scorable = True

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Measures the present weights on the first held-out rows, where that is due; says so, once, where those hold
        nothing."""
        if not evaluation_due(self.stage, progress.step):
            return {}
        if not self.scorable:
            return {}
        try:
            groups = held_out_groups(self.stage, self.world, self.held_out.during)
        except UserError as error:
            self.scorable = False
            self.sink.note(f"{self.stage.name}: no quick evaluations on held-out rows: {error}")
            return {}
        found = evaluate_scorer(self.stage, self.learner, groups)
        return {f"eval/{name}": measure.value for name, measure in found.measures.items()}
