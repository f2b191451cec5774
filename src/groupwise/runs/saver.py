"""Checkpoints of a stage, as a recorder: when one is written, and what lies in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from groupwise.learning.trainable import Trainable
from groupwise.runs.bad_batches import all_finite
from groupwise.runs.directory import RunDirectory
from groupwise.runs.evaluation_recorders import evaluation_due
from groupwise.runs.recorder import Recorder
from groupwise.runs.retention import best_so_far, rotate
from groupwise.sources import DrawContext
from groupwise.sources.pending import write_pending
from groupwise.storage.atomic import RECORD, complete_directory, require_space, sync, write_json
from groupwise.storage.tensors import save_progress
from groupwise.tasks.questions import Questions
from groupwise.tasks.task_renderer import template_record
from groupwise.training.interrupts import Stopped, stop_signal
from groupwise.training.loop import Progress
from groupwise.training.stage import Checkpoints, Stage


class Saver(Recorder):
    """This object writes a stage's checkpoints, and its model at the end."""

    def __init__(
        self,
        stage: Stage,
        context: DrawContext,
        learner: Trainable,
        checkpoints: Checkpoints,
        place: RunDirectory,
        drain: Callable[[], list[Path]],
    ) -> None:
        self.stage, self.context, self.learner = stage, context, learner
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
        return (
            evaluation_due(self.stage, step) and best_so_far(self.place, self.stage.name, self.checkpoints).step == step
        )

    def save(self, progress: Progress) -> None:
        """Saves a checkpoint. What stands in metrics and ledger reaches the disk first: a checkpoint is never ahead of
        them. Draws that the source has made ahead of it lie in it."""
        stage, memory = self.stage, self.learner.memory
        pending = stage.algorithm.source.pending(self.context, progress.position)
        path = self.place.checkpoint(stage.name, progress.step)
        needed = memory.written_bytes() + memory.saved_bytes()
        require_space(path.parent, needed, f"the checkpoint of step {progress.step}")
        lines = (self.place.metrics, self.place.times)
        for written in (*self._drain(), *(path for path in lines if path.exists())):
            sync(written)
        with complete_directory(path) as partial:
            self.learner.save(partial)
            asked = Questions.of(stage.task, stage.algorithm.source).record()
            record = self.place.lasting_record() | template_record(stage.task, self.context.renderer) | asked
            write_json(partial / RECORD, record)
            write_pending(partial, self.context, progress.position, pending)
            self.learner.write(partial)
            best = best_so_far(self.place, stage.name, self.checkpoints)
            save_progress(partial, replace(progress, pending=len(pending)).plain() | best.record())
        rotate(self.place, stage.name, self.checkpoints, finished=False)

    def close(self) -> None:
        """Waits for what the source still draws."""
        self.stage.algorithm.source.close(self.context)
