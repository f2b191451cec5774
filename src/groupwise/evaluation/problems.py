"""This module chooses which held-out problems an evaluation asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.protocols import RolloutEngine
from groupwise.seeding import stable_seed
from groupwise.tasks.held_out import first_of_each_set, places_by_set
from groupwise.tasks.task import Task
from groupwise.types import Example, Prompt

if TYPE_CHECKING:
    from groupwise.tokens.renderer import Renderer


def fitting_prompts(
    engine: RolloutEngine, renderer: Renderer, task: Task, problems: int, seed: int = 0
) -> tuple[list[Prompt], int]:
    """The first problems of each held-out set, one of each in turn, that fit the context; and how many do not.

    ``seed`` is that of the worlds that an environment opens. Raises UserError where the task holds none out, none fits,
    or an environment does not begin.
    """
    if not len(task.held_out):
        raise UserError(f"task {task.name!r} has no held-out problems to evaluate on: give it a held_out split")
    asked = _prompts(renderer, task, first_of_each_set(task.held_out, problems), seed)
    fitting = [prompt for prompt in asked if len(prompt.tokens) < engine.context_tokens]
    if not fitting:
        raise UserError(
            f"task {task.name!r}: none of {counted(len(asked), 'held-out prompt')} fits the model's context of "
            f"{counted(engine.context_tokens, 'token')}: shorten the prompts or take a model with a longer context"
        )
    return fitting, len(asked) - len(fitting)


def _prompts(renderer: Renderer, task: Task, rows: Sequence[Example], seed: int) -> list[Prompt]:
    from groupwise.sources.episodes import open_prompts

    if task.episodes is None:
        return [renderer.prompt(example) for example in rows]
    worlds = [(example, stable_seed(seed, example.id, "world")) for example in rows]
    opened = open_prompts(renderer, task.episodes, worlds)
    found = [prompt for prompt in opened if not isinstance(prompt, str)]
    if len(found) < len(opened):
        place, why = next((place, prompt) for place, prompt in enumerate(opened) if isinstance(prompt, str))
        raise UserError(
            f"{rows[place].id}: the environment {task.episodes.name} did not begin: {why}; mend it, or leave the row "
            "out"
        )
    return found


def sets_of(prompts: Sequence[Prompt]) -> dict[str, tuple[int, ...]]:
    """Returns where the prompts of each held-out set stand; nothing where there is one set."""
    return places_by_set([prompt.example for prompt in prompts])
