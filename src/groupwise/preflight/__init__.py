"""This package checks a run before anything is spent: what a recipe would do on this model, this data and this machine,
and what would break.

Nothing is written where runs lie. Models of stages that have not run are not there yet: their memory, time and rows are
looked at with the run's first model, and their pass rates are left open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from groupwise.errors import UserError
from groupwise.learners import NewModel
from groupwise.learners.thread_trial import one_thread_plan
from groupwise.output.counting import counted
from groupwise.preflight import cost, data, probe, rewards
from groupwise.preflight.arithmetic import tell_batch
from groupwise.preflight.episodes import heard_at_most, refuse_unbegun, tell_episodes
from groupwise.preflight.findings import Finding, Notebook
from groupwise.preflight.first_step import try_first_step
from groupwise.preflight.without_model import tell_what_is_known
from groupwise.rewards.model import close_scorers, with_scales
from groupwise.runs.directory import RunDirectory
from groupwise.runs.opening import Opener
from groupwise.runs.recipe import Run, validate
from groupwise.seeding import stable_seed
from groupwise.sources.reward_scale import measure_scales, unmeasured
from groupwise.training.intake import with_usable_rows
from groupwise.training.memory_trial import longest_rollouts
from groupwise.training.stage import Stage, in_stage
from groupwise.types import flatten

__all__ = ["Finding", "check_run"]

PROBED = 8  # prompts on which a reward is standardised here

Tell = Callable[[str], None]


def check_run(
    recipe: Run, out: Path | None = None, limit_seconds: float = 20.0, told: Tell = lambda text: None
) -> list[Finding]:
    """Returns every finding, stage after stage. ``out``: a run's directory whose finished stages' models are used.

    No part samples or computes for much longer than ``limit_seconds``. ``told`` hears what is being tried.
    """
    whole = Notebook("", told)
    whole.try_part("recipe", lambda: _tell_recipe(whole, recipe))
    if whole.findings and whole.findings[-1].kind == "problem":
        return whole.findings
    findings = list(whole.findings)
    with TemporaryDirectory() as scratch, one_thread_plan():
        models = Models(recipe, out, Path(scratch))
        for stage in recipe.stages:
            notes = Notebook(stage.name, told)
            notes.try_part("stage", partial(_look_at, recipe, stage, models, notes, limit_seconds))
            findings += notes.findings
    return findings


def _look_at(recipe: Run, stage: Stage, models: Models, notes: Notebook, limit: float) -> None:
    """All of a stage; where its model cannot be opened, what its rows alone say."""
    with ExitStack() as open_learners:
        try:
            checked = _StageCheck(recipe, stage, models, notes, limit, open_learners)
        except NoModel as error:
            notes.problem("model", str(error))
            tell_what_is_known(notes, stage)
        else:
            checked.run()


def _tell_recipe(notes: Notebook, recipe: Run) -> None:
    for warning in validate(recipe):
        name, _, words = warning.removeprefix("stage ").partition(": ")
        notes.findings.append(Finding(name, "options", "remark", words))


class NotTrainedYet(UserError):  # noqa: N818 - what is open is no error
    """The model of a stage that has not run is asked for: what depends on it is left open."""


class NoModel(UserError):  # noqa: N818 - says what is missing
    """The model that a stage begins with cannot be opened."""


@dataclass(frozen=True)
class Models:
    """This says which model stands for which, without any having been trained."""

    recipe: Run
    out: Path | None
    scratch: Path

    def record(self) -> dict[str, Any]:
        """Reads run.json of the run that is looked at; empty where it has not begun."""
        return RunDirectory(self.out or Path("runs") / self.recipe.name).read()

    def first(self) -> Path | str:
        """The run's own; a new one is made aside."""
        if not isinstance(self.recipe.model, NewModel):
            return self.recipe.model
        made = self.scratch / "new"
        if not made.exists():
            self.recipe.model.save(made, stable_seed(self.recipe.seed, "weights"))
        return made

    def left_by(self, name: str) -> Path | str:
        """Returns what a stage has left. Raises UserError where it has not run."""
        if name not in [stage.name for stage in self.recipe.stages]:
            return name
        left = RunDirectory(self.out or Path("runs") / self.recipe.name).model(name)
        if not left.exists():
            raise NotTrainedYet(f"stage {name} has left no model yet")
        return left

    def named(self, name: str, last: Path | str) -> Path | str:
        """Returns a model as ``FrozenPolicy.models`` and ``Stage.start`` name one."""
        return {"first": self.first, "last": lambda: last}.get(name, lambda: self.left_by(name))()

    def begun(self, stage: Stage) -> tuple[Path | str, str]:
        """Returns what a stage begins with, and the stage whose model that would be were it there; empty: it is
        there."""
        names = [each.name for each in self.recipe.stages]
        before = names[: names.index(stage.name)]
        name = (before[-1] if before else "first") if stage.start == "last" else stage.start
        if name == "first":
            return self.first(), ""
        try:
            return self.left_by(name), ""
        except NotTrainedYet:
            return self.first(), name


class _StageCheck:
    """One stage, part by part."""

    def __init__(
        self, recipe: Run, stage: Stage, models: Models, notes: Notebook, limit: float, open_learners: ExitStack
    ) -> None:
        self.recipe, self.models, self.notes, self.limit = recipe, models, notes, limit
        self.model, self.missing = models.begun(stage)
        opener = Opener(recipe, self._named, lambda text: notes.remark("machine", text))
        try:
            self.learner = opener.learner(stage, self.model)
            open_learners.callback(self.learner.close)
            engine = opener.engine(stage, self.learner, self.model, self.model)
        except UserError as error:
            raise NoModel(str(error)) from error
        self.stage, self.unheard = self._with_rewards(stage)
        open_learners.callback(close_scorers, (*self.stage.task.rewards, *self.stage.task.referee))
        notes.try_part("data", self._leave_out_unusable)
        context = replace(opener, note=lambda text: None).context(
            self.stage, self.learner, engine, self.model, models.record()
        )
        self.context = replace(
            context, on_note=lambda text: notes.remark("first step", text.removeprefix(f"{stage.name}: "))
        )

    def run(self) -> None:
        """Each part by itself, so that one that breaks hides no other."""
        stage, notes, context = self.stage, self.notes, self.context
        if not notes.try_part("template", context.renderer.refuse_unread_arguments):
            return  # each row and each part would say it again
        rollouts = (
            longest_rollouts(stage, context, self.recipe.learner.tokens_per_micro_batch)
            if len(stage.task.train)
            else []
        )
        longest = max((each.length for each in rollouts), default=0)
        at_once = self.learner.memory.tokens_per_micro_batch
        notes.try_part("batch", lambda: tell_batch(notes, stage, at_once, longest))
        notes.try_part("data", lambda: data.tell_rows(notes, stage, context, self.limit))
        if not len(stage.task.train):
            return
        begun = notes.try_part("reference", self._start)
        if self._all_readable() and not self.unheard:
            notes.try_part("reward", self._measure_scales)
        context, stage = self.context, self.stage
        if self._all_readable() and not stage.algorithm.source.reads_documents():
            notes.try_part("template", lambda: data.tell_template(notes, stage, context))
        if stage.task.rewards and not self.unheard:
            notes.try_part("reward", lambda: rewards.tell_gold(notes, stage.task))
            if not any(each.part == "reward" and each.kind == "problem" for each in notes.findings):
                notes.try_part("reward", lambda: rewards.ask_about_rows(stage, context, self._evaluated(), self.limit))
        source = stage.algorithm.source
        drawn = (
            self._probe() if source.sampled_by() == "learner" and rollouts and not source.samples_by_itself() else None
        )
        if begun and self._all_readable() and not self.unheard:
            notes.try_part("first step", lambda: try_first_step(notes, stage, context, self.learner, self.limit))
        if drawn and stage.task.episodes is not None:
            heard = heard_at_most(stage.task.episodes, flatten(drawn.groups))
            rollouts = longest_rollouts(stage, context, self.recipe.learner.tokens_per_micro_batch, heard)
        if begun and rollouts:
            notes.try_part("memory", partial(self._cost, rollouts, drawn))

    def _leave_out_unusable(self) -> None:
        self.stage, lines = with_usable_rows(self.stage)
        for line in lines:
            self.notes.remark("data", line.removeprefix(f"{self.stage.name}: "))

    def _measure_scales(self) -> None:
        """Of rewards that a run standardises, on fewer completions than it will take."""
        task = self.stage.task
        rewards = (*task.rewards, *task.referee)
        few = {name: replace(scale, prompts=min(PROBED, scale.prompts)) for name, scale in unmeasured(rewards).items()}
        if not few:
            return
        self.context.engine.load(self.learner.weights(), self.learner.version)
        most = self.recipe.evaluation.max_completion_tokens
        scales = measure_scales(self.stage.algorithm.source, self.context, with_scales(rewards, few), most)
        for name, scale in scales.items():
            self.notes.fact(
                "reward", f"{name} is standardised: {scale.formula()} as measured on {counted(scale.prompts, 'prompt')}"
            )
        changed = replace(task, rewards=with_scales(task.rewards, scales), referee=with_scales(task.referee, scales))
        self.stage = replace(self.stage, task=changed)
        self.context = in_stage(self.stage, self.context)

    def _all_readable(self) -> bool:
        return not any(each.part == "data" and each.kind == "problem" for each in self.notes.findings)

    def _start(self) -> None:
        """The reference (a teacher, say) and the critic, opened as the stage opens them."""
        algorithm = self.stage.algorithm
        reference = algorithm.reference.model if algorithm.needs_reference else None
        self.learner.start_stage(reference, algorithm.critic.network)

    def _evaluated(self) -> int:
        """Of the held-out rows so many are evaluated when the stage is done."""
        return 0 if self.stage.algorithm.trains_scorer else self.recipe.evaluation.problems

    def _cost(self, rollouts: Sequence[Any], drawn: probe.Probe | None) -> None:
        per_token = cost.tell_cost(self.notes, self.stage, self.learner.memory, rollouts, self.limit)
        cost.tell_time(self.notes, self.stage, rollouts, per_token, drawn, real=not self.missing)

    def _probe(self) -> probe.Probe | None:
        """Sampled groups; of a model that only stands in, fewer, and their rewards say nothing."""
        found = probe.Probe()

        def work() -> None:
            nonlocal found
            found = probe.sampled(self.stage, self.context, self.limit, 2 if self.missing else probe.PROMPTS)
            refuse_unbegun(self.context, found)
            temperature, half = self.stage.algorithm.source.temperature, self.learner.half_precision
            probe.tell_agreement(self.notes, temperature, self.learner, flatten(found.groups), half)
            if self.missing:
                self.notes.fact(
                    "signal",
                    f"open: it begins with what {self.missing} leaves; check again when that has run (--out DIR)",
                )
            elif self.unheard:
                self.notes.fact("signal", f"open: {self.unheard}")
            elif self.stage.task.rewards:
                probe.tell_signal(self.notes, self.stage, found)

        done = self.notes.try_part("signal", work)
        if done and self.stage.task.episodes is not None:
            self.notes.try_part("episodes", lambda: tell_episodes(self.notes, self.stage, self.context, found))
        return found if done else None

    def _named(self, name: str) -> Path | str:
        """Another model to sample from; the run's first model where the stage of that name has not run."""
        try:
            return self.models.named(name, self.model)
        except NotTrainedYet:
            return self.models.first()

    def _with_rewards(self, stage: Stage) -> tuple[Stage, str]:
        """With learned rewards opened; without any, and why, where one has not been trained."""
        try:
            opened = Opener(self.recipe, self.models.left_by).task(stage.task, self.learner.tokenizer)
        except NotTrainedYet as error:
            return replace(stage, task=replace(stage.task, rewards=())), f"its reward is learned, and {error}"
        return replace(stage, task=opened), ""
