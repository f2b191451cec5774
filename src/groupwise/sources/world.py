"""What a source is given, and what it gives back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from groupwise.errors import UserError
from groupwise.protocols import RolloutEngine
from groupwise.render import Renderer
from groupwise.stage import Stage
from groupwise.types import OVER, Group, TrainerState


@dataclass(frozen=True)
class Gathered:
    """What a source made once, to draw from step after step."""

    groups: list[Group]
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sampled_tokens: int = 0


def no_other_policy(model: str) -> RolloutEngine:
    """The default of ``World.open_policy``. Raises UserError."""
    raise UserError(f"cannot sample from {model}: only the policy that is trained is open here; leave models empty")


@dataclass(frozen=True)
class World:
    """What a source may use to make a draw."""

    stage: Stage
    renderer: Renderer
    engine: RolloutEngine
    """Samples from the policy as it is now."""
    seed: int
    on_phase: Callable[[str, int, int], None] = lambda name, done, total: None
    on_note: Callable[[str], None] = lambda text: None
    """Hears what a person should see."""
    open_policy: Callable[[str], RolloutEngine] = no_other_policy
    """Opens an engine on another model, which speaks the same tokens. Raises UserError where there is none."""
    store: Path | None = None
    """Where a source may keep what it gathered once, in a file of the stage's name; None: in memory only."""
    state: TrainerState = OVER
    """Where training stands, for rewards that ask."""
    gathered: dict[str, Gathered] = field(default_factory=dict, init=False, compare=False, repr=False)
    """By what gathered it; a world made from another one begins without."""
    told: set[str] = field(default_factory=set, init=False, compare=False, repr=False)
    """What was noted and need not be again."""

    def at(self, step: int, cursor: int) -> World:
        """The same world after ``step`` draws, the next of which begins at ``cursor`` in the stream of prompts."""
        stage, rows = self.stage, max(len(self.stage.task.train), 1)
        passes = -(-stage.steps * stage.prompts_per_step // rows)
        there = copy.copy(self)  # what was gathered and told is that of this very world
        object.__setattr__(there, "state", TrainerState(step, stage.steps, cursor / rows, passes))
        return there


@dataclass(frozen=True)
class Draw:
    """The groups of one step, and where in the stream of prompts the next one begins."""

    groups: list[Group]
    cursor: int
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sampled_tokens: int = 0
    """By the engine, dropped groups included."""
