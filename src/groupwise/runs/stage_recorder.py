"""This module keeps what is to be kept after each step of a stage: rollouts, groups to look at, checkpoints, quick
evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from groupwise.doctor import Alarm, Doctor, alarms
from groupwise.errors import UserError
from groupwise.learning.record import StepRecord
from groupwise.learning.trainable import Trainable
from groupwise.ledger.files import Ledger, LedgerWriter
from groupwise.protocols import Sink
from groupwise.rewards.model import scale_metrics
from groupwise.runs.bad_batches import BadBatches
from groupwise.runs.directory import RunDirectory
from groupwise.runs.evaluation_recorders import PolicyEvaluations, ScorerEvaluations, TextEvaluations
from groupwise.runs.recorder import Recorder, is_sampled
from groupwise.runs.saver import Saver
from groupwise.runs.shown_groups import ShownGroups
from groupwise.sources import DrawContext
from groupwise.training.interrupts import Stopped
from groupwise.training.loop import Progress
from groupwise.training.stage import Checkpoints, HeldOut, Stage, updates_per_draw


class StageRecorder:
    """This recorder is one stage's memory: a list of recorders. One more is a file of its own and a line in here."""

    def __init__(
        self,
        stage: Stage,
        context: DrawContext,
        learner: Trainable,
        held_out: HeldOut,
        checkpoints: Checkpoints,
        place: RunDirectory,
        sink: Sink,
        progress: Progress,
    ) -> None:
        self.stage, self.checkpoints, self.place, self.sink = stage, checkpoints, place, sink
        self.progress = progress
        self.saver = Saver(stage, context, learner, checkpoints, place, self.drain)
        evaluations: Callable[..., Recorder] = PolicyEvaluations
        if stage.algorithm.trains_scorer or stage.algorithm.source.reads_documents():
            evaluations = ScorerEvaluations if stage.algorithm.trains_scorer else TextEvaluations
        self.recorders: list[Recorder] = [
            BadBatchRecorder(stage, place, sink),
            LedgerRecorder(stage, place, sink),
            ShownGroups(stage, context, place),
            Scales(stage),
            evaluations(stage, context, learner, held_out, sink),
            Alarms(stage, learner, held_out, place, sink),
            self.saver,
        ]

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Tells every recorder of a step and returns the metrics that they add (the loop's ``AfterStep``)."""
        metrics: dict[str, float] = {}
        for recorder in self.recorders:
            metrics |= recorder.after_step(progress, record)
        return metrics

    def checkpoint(self, progress: Progress) -> None:
        """Is the loop's ``Checkpoint``. Raises Stopped after it where a signal asked for it."""
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


class BadBatchRecorder(Recorder):
    """This recorder keeps batches whose updates were left out because a number was not finite."""

    def __init__(self, stage: Stage, place: RunDirectory, sink: Sink) -> None:
        self.stage, self.sink = stage, sink
        self.bad_batches = BadBatches(place.bad_batches)

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Keeps the step's batch where updates of it were left out."""
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
    """This recorder writes every rollout that some policy sampled."""

    def __init__(self, stage: Stage, place: RunDirectory, sink: Sink) -> None:
        self.stage, self.ledger = stage, LedgerWriter(Ledger(place.ledger), sink.note)

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Begins to write the step."""
        if record is not None and is_sampled(record):
            self.ledger.write(self.stage.name, record, weights_of(self.stage))
        return {}

    def drain(self) -> list[Path]:
        """Waits until the ledger is on the disk (``Recorder``). Raises what went wrong in the ledger's thread."""
        return self.ledger.drain()

    def close(self) -> None:
        """Waits for what is under way."""
        self.ledger.close()


class Scales(Recorder):
    """The numbers of learned rewards that are standardised."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """Returns the same at every step."""
        return scale_metrics(self.stage.task.rewards)


class Alarms(Recorder):
    """This recorder notes what the doctor says of the stage's metrics."""

    def __init__(self, stage: Stage, learner: Trainable, held_out: HeldOut, place: RunDirectory, sink: Sink) -> None:
        self.stage, self.learner, self.held_out, self.sink = stage, learner, held_out, sink
        self.doctor = Doctor(stage.name, place.metrics, place.alarms, self._alarms())

    def checkpoint(self, progress: Progress) -> None:
        """Says which alarms begin with this step."""
        for sentence in self.doctor.observe(progress.step):
            self.sink.note(f"{self.stage.name}: after step {progress.step}, {sentence}")

    def _alarms(self) -> tuple[Alarm, ...]:
        problems = min(self.held_out.during, len(self.stage.task.held_out))
        judge = self.stage.task.judge
        judged = [(each.name, problems) for each in self.stage.task.rewards if judge and each is not judge.reward]
        source = self.stage.algorithm.source
        frozen = source.sampled_by() == "another"  # old by design, and weighed or copied
        most = updates_per_draw(self.stage) * max(1, source.lag())
        return alarms(math.inf if frozen else most, self.learner.half_precision, judged)


def weights_of(stage: Stage) -> dict[str, float]:
    """Returns the weights of the task's rewards, by name."""
    return {reward.name: reward.weight for reward in stage.task.rewards}
