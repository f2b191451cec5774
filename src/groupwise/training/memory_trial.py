"""The longest micro-batch that a stage can meet, tried before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from groupwise.algorithm import Source
from groupwise.errors import UserError
from groupwise.learning.trainable import Memory
from groupwise.sources import DrawContext
from groupwise.training.stage import Stage, in_stage
from groupwise.types import Example, Prompt, Rollout, flatten

LOOKED_AT = 2_000  # rows, evenly spread, by their letters
LONGEST = 16  # of them, by their tokens


def rehearse(stage: Stage, context: DrawContext, memory: Memory, tokens: int) -> str:
    """Tries the longest step and says what was tried, in words; empty: nothing. ``tokens`` are those of a micro-batch.

    Raises UserError where memory has no room for one completion.
    """
    if not memory.is_tight(max(tokens, 2 * context.engine.context_tokens)):
        return ""
    algorithm = stage.algorithm
    rollouts = longest_rollouts(stage, context, tokens)
    if not rollouts:
        return ""
    together = in_pairs(rollouts) if algorithm.objective.joins_group() else None
    return memory.rehearse(rollouts, algorithm.outputs, together)


def in_pairs(rollouts: Sequence[Rollout]) -> list[int]:
    """Returns one number for the rollouts of each prompt."""
    numbers = {rollout.prompt.example.id: number for number, rollout in enumerate(rollouts)}
    return [numbers[rollout.prompt.example.id] for rollout in rollouts]


def longest_rollouts(stage: Stage, context: DrawContext, tokens: int, heard: int | None = None) -> list[Rollout]:
    """Makes rollouts as long as the stage's can be, enough to fill a micro-batch of ``tokens``; none where no row can
    be read.

    Prompts are the longest by tokens among the LONGEST by letters of LOOKED_AT rows. What is sampled is as long as it
    may get; what rows demonstrate is the longest of them. An episode also holds what its environment says: ``heard``
    tokens, or as many as its context has room for.
    """
    source = stage.algorithm.source
    sampled = source.max_completion_tokens > 0
    rows = longest_rows(stage.task.train, prompts_alone=sampled)
    try:
        found = _sampled(context, source, rows, heard) if sampled else _shown(stage, context, rows)
    except UserError:  # the stage's own draw says it better
        return []
    if not found:
        return []
    each = max(len(rollout.prompt.tokens) + len(rollout.tokens) for rollout in found)
    copies = min(-(-tokens // (each * len(found))) + 1, stage.prompts_per_step)
    return [_renamed(rollout, number) for number in range(copies) for rollout in found]


def longest_rows(rows: Sequence[Example], prompts_alone: bool) -> list[Example]:
    """Returns the longest rows by letters of prompt, or of all that the row holds, of rows evenly spread."""
    looked_at = [rows[number] for number in range(0, len(rows), -(-len(rows) // LOOKED_AT) or 1)]

    def letters(row: Example) -> int:
        shown = 0 if prompts_alone else max(len(str(row.completion or "")), len(str(dict(row.columns))))
        return len(str(row.prompt)) + shown

    return sorted(looked_at, key=letters, reverse=True)[:LONGEST]


def _sampled(context: DrawContext, source: Source, rows: Sequence[Example], heard: int | None) -> list[Rollout]:
    """Makes a group behind the longest prompt that leaves room for its completions."""
    room = context.engine.context_tokens - source.max_completion_tokens
    prompts = [prompt for row in rows if len((prompt := context.renderer.prompt(row)).tokens) <= room]
    if not prompts:
        return []
    prompt, most = max(prompts, key=lambda prompt: len(prompt.tokens)), source.max_completion_tokens
    if (episodes := context.task.episodes) is not None and episodes.turns.most > 1:
        room = min(episodes.turns.context_tokens or context.engine.context_tokens, context.engine.context_tokens)
        most = min(most + (room if heard is None else heard), max(most, room - len(prompt.tokens)))
    ids = tuple(place % 64 for place in range(most))
    told = (True,) * most, (0.0,) * most, "", False, 0
    return [Rollout(prompt, ids, *told, rewards={most - 1: 0.0}) for _ in range(source.samples_per_prompt)]


def _shown(stage: Stage, context: DrawContext, rows: Sequence[Example]) -> list[Rollout]:
    """Returns the longest group that rows hold themselves."""
    task = replace(stage.task, train=rows, shares=())
    small = replace(stage, task=task, prompts_per_step=len(rows), long_prompts="skip")
    groups = stage.algorithm.source.draw(in_stage(small, context), {}).groups
    return flatten([max(groups, key=lambda group: sum(len(rollout.tokens) for rollout in group.rollouts))])


def _renamed(rollout: Rollout, number: int) -> Rollout:
    """Returns the rollout as one of another prompt of the same length."""
    first, *rest = rollout.prompt.tokens
    example = replace(rollout.prompt.example, id=f"{rollout.prompt.example.id} again {number}")
    return replace(rollout, prompt=Prompt(example, (first + number % 7, *rest)))
