"""This module says what a source is given, and what it gives back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from groupwise.errors import UserError
from groupwise.protocols import Position, RolloutBatch, RolloutEngine
from groupwise.sources.reward_metrics import informative
from groupwise.tasks.task import Task
from groupwise.tokens.renderer import Renderer
from groupwise.types import OVER, Group, TrainerState


def prompts_taken(position: Position) -> int:
    """Returns how many prompts of the stream lie behind a position. Raises UserError where that is no number."""
    taken = position.get("prompts", 0)
    if type(taken) is not int:
        raise UserError(f"a position has {taken!r} as its number of prompts; expected a whole number")
    return taken


def after_prompts(taken: int) -> Position:
    """Returns the position of a source that depends on nothing else."""
    return {"prompts": taken}


@dataclass(frozen=True)
class OfflineGroups:
    """These groups are what a source made once, to draw from step after step."""

    groups: list[Group]
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sampled_tokens: int = 0


class PendingDraw(NamedTuple):
    """A draw that no step has learned from yet."""

    start: Position | None
    """Where the source stands before it; None: where the draw before it ends, which is under way."""
    draw: Future[RolloutBatch]
    """It, or what it will be."""


def no_other_policy(model: str) -> RolloutEngine:
    """Is the default of ``DrawContext.open_policy``. Raises UserError."""
    raise UserError(f"cannot sample from {model}: only the policy that is trained is open here; leave models empty")


@dataclass(frozen=True)
class DrawContext:
    """A context holds what a source may use to make a draw. ``stage.draw_context`` makes one of a stage."""

    name: str
    """The stage's: it names what is kept, seeds what is random, and begins what a person reads."""
    task: Task
    prompts_per_step: int
    renderer: Renderer
    engine: RolloutEngine
    """Samples from the policy: as it was when ``serve`` was last called."""
    seed: int
    steps: int = 1
    """Draws of the stage."""
    long_prompts: Literal["skip", "error"] = "skip"
    """A prompt that leaves no room for its completion: skipped, or an error."""
    most_unscored: float = 0.5
    """Share of a draw's completions that may go without a reward because one timed out or failed."""
    signal: Callable[[Group], bool] = informative
    """Whether the algorithm's advantage sees differences in a group."""
    asks_verdicts: bool = False
    """Whether the stage must know which completions are right, beside their rewards."""
    on_phase: Callable[[str, int, int], None] = lambda name, done, total: None
    on_note: Callable[[str], None] = lambda text: None
    """Hears what a person should see."""
    open_policy: Callable[[str], RolloutEngine] = no_other_policy
    """Opens an engine on another model, which speaks the same tokens. Raises UserError where there is none."""
    serve: Callable[[], None] = lambda: None
    """The engine samples from the learner's present weights from then on; one that samples from another policy lets
    that go. The source says when, from the thread in which it is asked for a draw."""
    copy_weights: Callable[[], Callable[[], None]] = lambda: lambda: None
    """Keeps a copy of the learner's present weights, and returns what loads them into the engine later: for a source
    whose engine is at work when it is asked for a draw."""
    store: Path | None = None
    """Where a source may keep what it gathered once, in a file of the stage's name; None: in memory only."""
    state: TrainerState = OVER
    """Where training stands, for rewards that ask."""
    gathered: dict[str, OfflineGroups] = field(default_factory=dict, init=False, compare=False, repr=False)
    """By what gathered it; a context made from another one begins without."""
    told: set[str] = field(default_factory=set, init=False, compare=False, repr=False)
    """What was noted and need not be again."""
    pending: list[PendingDraw] = field(default_factory=list, init=False, compare=False, repr=False)
    """Draws that a source has made ahead, in order: its own to add and to take."""
    threads: list[Any] = field(default_factory=list, init=False, compare=False, repr=False)
    """What such a source has at work: its own too."""

    def at(self, step: int, position: Position, serve: Callable[[], None] | None = None) -> DrawContext:
        """Returns the same context after ``step`` draws, the next of which begins at ``position``."""
        rows = max(len(self.task.train), 1)
        passes = -(-self.steps * self.prompts_per_step // rows)
        state = TrainerState(step, self.steps, prompts_taken(position) / rows, passes)
        return self.but(state=state, serve=serve or self.serve)

    def but(self, **values: Any) -> DrawContext:
        """Returns the same context with other values of some fields: what was gathered, told and drawn ahead is that of
        this very one."""
        there = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(there, name, value)
        return there
