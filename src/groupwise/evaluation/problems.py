"""This module chooses which held-out problems an evaluation asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.protocols import RolloutEngine
from groupwise.tasks.held_out import first_of_each_set, places_by_set
from groupwise.tasks.task import Task
from groupwise.types import Prompt

if TYPE_CHECKING:
    from groupwise.tokens.renderer import Renderer


def fitting_prompts(engine: RolloutEngine, renderer: Renderer, task: Task, problems: int) -> tuple[list[Prompt], int]:
    """The first problems of each held-out set, one of each in turn, that fit the context; and how many do not.

    Raises UserError where the task holds none out, or none fits.
    """
    if not len(task.held_out):
        raise UserError(f"task {task.name!r} has no held-out problems to evaluate on: give it a held_out split")
    asked = [renderer.prompt(example) for example in first_of_each_set(task.held_out, problems)]
    fitting = [prompt for prompt in asked if len(prompt.tokens) < engine.context_tokens]
    if not fitting:
        raise UserError(
            f"task {task.name!r}: none of {counted(len(asked), 'held-out prompt')} fits the model's context of "
            f"{counted(engine.context_tokens, 'token')}: shorten the prompts or take a model with a longer context"
        )
    return fitting, len(asked) - len(fitting)


def sets_of(prompts: Sequence[Prompt]) -> dict[str, tuple[int, ...]]:
    """Returns where the prompts of each held-out set stand; nothing where there is one set."""
    return places_by_set([prompt.example for prompt in prompts])
