"""One row of the unified table, run: an algorithm on a task for a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from groupwise.algorithm import Algorithm
from groupwise.evaluation.plan import HeldOut
from groupwise.protocols import RolloutEngine
from groupwise.sources.draw import DrawContext
from groupwise.sources.reward_metrics import signal_of
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.values.said import SAID_WHERE_SET

__all__ = ["Checkpoints", "HeldOut", "Stage", "updates_per_draw"]

NO_WEIGHT = (
    "the objective has no importance ratio and nothing corrects for the sampler, so the gradient would be that of "
    "another policy; expected algorithm.correction TruncateMismatch() or RejectMismatch(), which weigh each completion "
    "by how likely the policy makes it, an objective with a ratio such as ClippedRatio(), or source OnPolicy()"
)
"""Of completions that another policy drew: why they cannot be learned from, and the ways out."""


@dataclass(frozen=True)
class Stage:
    """A stage is an algorithm × a task × a budget. Batch sizes speak for themselves: ``prompts_per_step`` here,
    ``group_size`` in the source, ``minibatches`` here, ``tokens_per_micro_batch`` in the learner."""

    name: str
    """Names the stage's model, metrics and options."""
    algorithm: Algorithm
    task: Task
    steps: Annotated[int, "[1, inf)"]
    """Draws. A step draws prompts_per_step prompts together."""
    prompts_per_step: Annotated[int, "[1, inf)"] = 16
    """Prompts drawn together."""
    minibatches: Annotated[int, "[1, inf)"] = 1
    """Optimiser updates a draw (and epoch). With more than one the later ones are off-policy: ratio and clip matter."""
    epochs: Annotated[int, "[1, inf)"] = 1
    """Passes over one draw."""
    learning_rate: Annotated[float, "[0, 1]"] = 1e-6
    """AdamW's, at the end of the warm-up."""
    warmup_steps: Annotated[int, "[0, inf)"] = 0
    """Steps over which the learning rate rises linearly, by the same amount at each: the first has 1/warmup_steps of it
    and the last all of it."""
    schedule: Literal["constant", "linear", "cosine", "multistep"] = "constant"
    """After the warm-up: constant, or falling from the whole rate at the first step after it so that the floor would be
    reached at the step after the last: of N falling steps the last is linearly 1/N of the way above the floor.
    multistep falls at once, as ``falls_at`` and ``falls_to`` say."""
    schedule_steps: Annotated[int, "[0, inf)"] = 0
    """Steps, those of the warm-up included, after which a falling schedule is at its floor, where it then stays; 0: all
    of the stage's, which then can't be lengthened."""
    long_prompts: Literal["skip", "error"] = "skip"
    """A prompt that leaves no room for its completion in the context: skipped and counted, or an error."""
    unreadable_answers: Literal["skip", "error"] = "skip"
    """A row whose reference answer the reward cannot read: skipped and counted before the first step, or an error."""
    checkpoint_every: Annotated[int, "[0, inf)"] = 50
    """Steps between checkpoints; 0: only the stage's final model."""
    evaluate_every: Annotated[int, "[0, inf)"] = 0
    """Steps between quick greedy evaluations on held-out problems; 0: none."""
    learning_rate_floor: Annotated[float, "[0, 1]"] = 0.0
    """Where a falling schedule ends, as a share of the learning rate."""
    most_unscored: Annotated[float, "[0, 1]"] = 0.5
    """Share of a step's completions that may go without a reward because one timed out or failed; with more the run
    stops and shows them."""
    start: str = "last"
    """The model that it begins with: what the stage before it left (last), the run's own first model (first), or what
    the stage of that name left."""
    most_skipped_steps: Annotated[int, "[0, inf)"] = 5
    """Steps in a row whose updates were left out because a number was not finite, after which the run stops; 0: never.
    Their batches lie in bad_batches/."""

    falls_at: Annotated[tuple[float, ...], "[0, 1]"] = field(default=(0.8, 0.9), metadata=SAID_WHERE_SET)
    """Of the schedule multistep: the shares of its steps (``schedule_steps``, or all of the stage's), rising, after
    which the learning rate is another; 80 and 90 % in DeepSeek LLM (arXiv 2401.02954) and DeepSeekMath."""
    falls_to: Annotated[tuple[float, ...], "[0, 1]"] = field(default=(0.316, 0.1), metadata=SAID_WHERE_SET)
    """What it is from there on, as a share of the learning rate: as many as ``falls_at``; 31.6 and 10 % there."""

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of the 0-based ``step``."""
        import math

        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "multistep":
            done = step / (self.schedule_steps or self.steps)
            phases = [*zip(self.falls_at, self.falls_to, strict=True)]
            return self.learning_rate * next((to for at, to in reversed(phases) if done >= at), 1.0)
        falling = max(1, (self.schedule_steps or self.steps) - self.warmup_steps)
        left = max(0.0, 1 - (step - self.warmup_steps) / falling)
        factor = {"constant": 1.0, "linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2}[self.schedule]
        return self.learning_rate * (self.learning_rate_floor + (1 - self.learning_rate_floor) * factor)


def updates_per_draw(stage: Stage) -> int:
    """Counts the optimiser updates made on one draw."""
    return stage.minibatches * stage.epochs


def draw_context(stage: Stage, renderer: Renderer, engine: RolloutEngine, seed: int) -> DrawContext:
    """Returns what the stage's source may use; ``dataclasses.replace`` adds who hears of it, and where it may keep
    things."""
    return in_stage(stage, DrawContext(stage.name, stage.task, stage.prompts_per_step, renderer, engine, seed))


def in_stage(stage: Stage, context: DrawContext) -> DrawContext:
    """Returns the same for another stage, or for the same one with other options."""
    renderer, sees = context.renderer, stage.algorithm.reference.sees
    return replace(
        context,
        renderer=renderer if renderer.reference_sees == sees else replace(renderer, reference_sees=sees),
        name=stage.name,
        task=stage.task,
        prompts_per_step=stage.prompts_per_step,
        steps=stage.steps,
        long_prompts=stage.long_prompts,
        most_unscored=stage.most_unscored,
        signal=signal_of(stage.algorithm),
        asks_verdicts=stage.algorithm.needs_verdicts,
    )


@dataclass(frozen=True)
class Checkpoints:
    """This says which checkpoints of a stage are kept; ``Stage.checkpoint_every`` says when one is written."""

    keep_last: Annotated[int, "[1, inf)"] = 2
    """The newest ones while the stage is under way. With two, a damaged one has one before it to go on from."""
    keep_every: Annotated[int, "[0, inf)"] = 0
    """Those of every so many steps stay for good; 0: none."""
    keep_end: bool = True
    """The one at the end of the run's last stage stays, so that the run can be lengthened."""
    keep_best: str = ""
    """A metric of the quick evaluations (``Stage.evaluate_every``), such as eval/accuracy, or eval/NAME/maj@4 of one
    held-out set: a checkpoint is written wherever it is higher than before, and the one where it is highest stays for
    good. Empty: none."""

    def kept(self, steps: Sequence[int], best: int | None, finished: bool, end: int | None = None) -> set[int]:
        """Returns which of ``steps``, in order, stay: ``best`` is the step where the metric is highest, ``end`` the
        last of the run's last stage."""
        kept = set() if finished else set(steps[-self.keep_last :])
        kept |= {end} & set(steps) if end is not None and self.keep_end else set()
        kept |= {step for step in steps if self.keep_every and step % self.keep_every == 0}
        return kept | ({best} & set(steps) if best is not None else set())
