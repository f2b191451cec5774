"""What is kept after each step of a stage: rollouts, groups to look at, checkpoints, quick evaluations."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from groupwise.checkpoint import RECORD, complete_directory, require_space, sync, write_json
from groupwise.directory import RunDirectory
from groupwise.doctor import Alarm, Doctor, alarms
from groupwise.errors import UserError
from groupwise.finite import BadBatches, all_finite
from groupwise.ledger import Ledger, LedgerWriter, extras
from groupwise.loop import Progress
from groupwise.protocols import Learner, Sink
from groupwise.questions import Questions
from groupwise.quick_evaluation import quick_evaluation
from groupwise.record import StepRecord
from groupwise.rendering import remembered
from groupwise.rewards.model import scale_metrics
from groupwise.rotation import best_step, rotate
from groupwise.saved_state import bytes_of, save_state
from groupwise.scorer_evaluation import evaluate_scorer, held_out_groups
from groupwise.sources import World
from groupwise.sources.signal import signal_of
from groupwise.stage import Checkpoints, HeldOut, Stage, updates_per_draw
from groupwise.stopping import Stopped, asked
from groupwise.types import DEMONSTRATED, Group, flatten

SHOWN_GROUPS = 3  # of a step, in groups.json


class Keeper:
    """One stage's memory."""

    def __init__(
        self,
        stage: Stage,
        world: World,
        learner: Learner,
        held_out: HeldOut,
        checkpoints: Checkpoints,
        place: RunDirectory,
        sink: Sink,
        progress: Progress,
    ) -> None:
        self.stage, self.world, self.learner = stage, world, learner
        self.held_out, self.checkpoints, self.place, self.sink = held_out, checkpoints, place, sink
        self.progress = progress
        self.ledger = LedgerWriter(Ledger(place.ledger), sink.note)
        self.bad_batches = BadBatches(place.bad_batches)
        self.doctor = Doctor(stage.name, place.metrics, place.alarms, self._alarms())
        self.scorable = True
        self.shown = {1, (stage.steps + 1) // 2, stage.steps}

    def after_step(self, progress: Progress, record: StepRecord | None) -> dict[str, float]:
        """``loop.AfterStep``."""
        stage, step = self.stage, progress.step
        if record is not None and record.bad:
            kept = self.bad_batches.keep(stage.name, record, self.weights)
            self.sink.note(f"{stage.name} {step}: left out {len(record.bad)} of the step's updates: {kept}")
        if record is not None and any(rollout.version != DEMONSTRATED for rollout in flatten(record.groups)):
            self.ledger.write(stage.name, record, self.weights)
            if step in self.shown and not record.bad:
                self._show(record)
        scales = scale_metrics(stage.task.rewards)
        if not self._evaluation_due(step):
            return scales
        return scales | (self._evaluate_scorer() if stage.algorithm.trains_scorer else self._evaluate())

    def checkpoint(self, progress: Progress) -> None:
        """``loop.Checkpoint``, where one is due. Raises Stopped after it where a signal asked for it."""
        self.progress = progress
        stage, step = self.stage, progress.step
        if stage.most_skipped_steps and progress.skipped >= stage.most_skipped_steps:
            raise UserError(
                f"stage {stage.name}: updates of {progress.skipped} steps in a row, up to step {step}, were left out "
                f"because numbers were not finite: {self.bad_batches.last}; look there, lower the learning rate or "
                "mend the reward, and the same command continues from the last checkpoint (most_skipped_steps 0: never "
                "stops)"
            )
        for sentence in self.doctor.hear(step):
            self.sink.note(f"{stage.name}: after step {step}, {sentence}")
        if step < stage.steps:
            due = stage.checkpoint_every and step % stage.checkpoint_every == 0
            worth_it = (due or self._is_best(step)) and not progress.skipped
            if asked.signal or (worth_it and all_finite(self.learner.weights())):
                self._save(progress)
            if asked.signal:
                raise Stopped(f"stopped after step {step} of {stage.name}, saved")

    def keep_end(self) -> None:
        """The state in which the stage ends, from which more steps go on. A disk without room for it is no failure."""
        step = self.progress.step
        if not self.checkpoints.keep_end or step in self.place.checkpoints(self.stage.name):
            return
        try:
            self._save(self.progress)
        except UserError as error:
            self.sink.note(f"{self.stage.name}: its end is not kept, so that it can't be lengthened: {error}")

    def close(self) -> None:
        """Waits for what is still being written. Whoever ends in order has drained it and heard what went wrong there;
        an error that ends a stage is the one to hear."""
        with suppress(Exception):
            self.ledger.close()

    def give_up_step(self) -> NoReturn:
        """The step under way has changed nothing yet: saves where the one before it left off. Raises Stopped."""
        step = self.progress.step
        if step and step not in self.place.checkpoints(self.stage.name):
            self._save(self.progress)
        where = f"after step {step} of {self.stage.name}, saved"
        raise Stopped(f"stopped {where if step else 'before the first step of ' + self.stage.name}")

    def _is_best(self, step: int) -> bool:
        return self._evaluation_due(step) and best_step(self.place, self.stage.name, self.checkpoints) == step

    def _alarms(self) -> tuple[Alarm, ...]:
        problems = min(self.held_out.during, len(self.stage.task.held_out))
        judge = self.stage.task.judge
        judged = [(each.name, problems) for each in self.stage.task.rewards if judge and each is not judge.reward]
        half = any(tensor.dtype.itemsize == 2 for tensor in self.learner.weights().values())
        frozen = self.stage.algorithm.source.sampled_by() == "another"  # old by design, and weighed or copied
        return alarms(math.inf if frozen else updates_per_draw(self.stage), half, judged)

    @property
    def weights(self) -> dict[str, float]:
        """Of the task's rewards, by name."""
        return {reward.name: reward.weight for reward in self.stage.task.rewards}

    def _evaluation_due(self, step: int) -> bool:
        every = self.stage.evaluate_every
        return bool(every and len(self.stage.task.held_out)) and (step == 1 or step % every == 0)

    def _save(self, progress: Progress) -> None:
        """What stands in metrics and ledger reaches the disk first: a checkpoint is never ahead of them."""
        stage, state = self.stage, self.learner.state()
        path = self.place.checkpoint(stage.name, progress.step)
        needed = bytes_of(state) + self.learner.saved_bytes()
        require_space(path.parent, needed, f"the checkpoint of step {progress.step}")
        lines = (self.place.metrics, self.place.times)
        for written in (*self.ledger.drain(), *(path for path in lines if path.exists())):
            sync(written)
        with complete_directory(path) as partial:
            self.learner.save(partial)
            asked = remembered(stage.task, self.world.renderer) | Questions.of(stage.task).record()
            write_json(partial / RECORD, self.place.lasting_record() | asked)
            save_state(partial, state, vars(progress))
        rotate(self.place, stage.name, self.checkpoints, finished=False)

    def _evaluate(self) -> dict[str, float]:
        """Of the present weights, on the first held-out problems."""
        self.world.engine.load(self.learner.weights(), self.learner.version)
        return quick_evaluation(self.world, self.held_out)

    def _evaluate_scorer(self) -> dict[str, float]:
        """Measures of the present weights on the first held-out rows; says so, once, where those hold nothing."""
        if not self.scorable:
            return {}
        try:
            groups = held_out_groups(self.world, self.held_out.during)
        except UserError as error:
            self.scorable = False
            self.sink.note(f"{self.stage.name}: no quick evaluations on held-out rows: {error}")
            return {}
        found = evaluate_scorer(self.stage, self.learner, groups)
        return {f"eval/{name}": measure.value for name, measure in found.measures.items()}

    def _show(self, record: StepRecord) -> None:
        """Adds a few groups of this step to groups.json, those with a signal first."""
        path = self.place.groups
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        kept = [row for row in kept if (row["stage"], row["step"]) != (self.stage.name, record.step)]
        signal = signal_of(self.stage.algorithm)
        order = sorted(range(len(record.groups)), key=lambda number: not signal(record.groups[number]))
        starts = [sum(len(group.rollouts) for group in record.groups[:number]) for number in range(len(record.groups))]
        for number in order[:SHOWN_GROUPS]:
            kept.append(self._group(record, record.groups[number], starts[number]))
        write_json(path, kept)

    def _group(self, record: StepRecord, group: Group, start: int) -> dict[str, Any]:
        prompt, rollouts = group.prompt, []
        assert record.signals.advantages is not None
        for row, rollout in enumerate(group.rollouts, start=start):
            length = len(rollout.tokens)
            rollouts.append(
                {
                    "text": rollout.text,
                    "tokens": self._pieces(rollout.tokens),
                    "reward": rollout.reward,
                    "correct": rollout.correct,
                    "advantage": float(record.signals.advantages[row, rollout.last]),
                    "coefficients": record.coefficients[row, :length].tolist(),
                    "logprobs": record.logprobs[row, :length].tolist(),
                    "finished": rollout.finished,
                }
                | ({"extras": said} if (said := extras(rollout)) else {})
            )
        shown = self.world.renderer.tokenizer.decode(list(prompt.tokens), skip_special_tokens=True)
        place = {"stage": self.stage.name, "step": record.step}
        return place | {"prompt": shown, "answer": prompt.example.answer, "rollouts": rollouts}

    def _pieces(self, tokens: Sequence[int]) -> list[str]:
        """Each token as text by itself."""
        decode = self.world.renderer.tokenizer.decode
        return [str(decode([token], skip_special_tokens=False)) for token in tokens]
