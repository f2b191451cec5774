"""A task's rows in the order that a stage takes them, and groups made from rows alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.seeding import shuffled, stable_seed
from groupwise.sources.draw import DrawContext, Position, after_prompts, prompts_taken
from groupwise.sources.episodes import open_prompts
from groupwise.tasks.shares import Share, epoch_size, rows_of_epoch
from groupwise.tokens.privileged import longest
from groupwise.types import Example, Group, Prompt, Rollout

MOST_ROWS, MOST_EPOCHS = 50, 2  # looked at for each prompt that a step wants


@dataclass(frozen=True)
class FromRows:
    """These are groups, the position after the last row that was looked at, and how many rows were passed over."""

    groups: list[Group]
    position: Position
    too_long: int = 0
    without_signal: int = 0


def prompt_stream(context: DrawContext, taken: int = 0) -> Iterator[tuple[Example, int]]:
    """Yields examples and their places in the stream, after so many that were taken: epoch after epoch, each in its own
    seeded order.

    Ends after ``MOST_ROWS`` a prompt, or ``MOST_EPOCHS`` of fewer rows, so that a stage which can use no row stops
    instead of looking for ever.
    """
    rows = rows_of(context)
    for number, row in row_stream(context, taken):
        yield rows[row], number


def row_stream(context: DrawContext, taken: int) -> Iterator[tuple[int, int]]:
    """Yields places in the stream and the numbers of the rows that stand there, as ``prompt_stream`` takes them."""
    size = epoch_size(context.task.shares) or len(context.task.train)
    for number in range(taken, taken + min(MOST_ROWS, MOST_EPOCHS * size) * context.prompts_per_step):
        epoch, place = divmod(number, size)
        yield number, row_order(context, epoch)[place]


def rows_of(context: DrawContext) -> Sequence[Example]:
    """Returns the task's training rows. Raises UserError where there are none."""
    rows = context.task.train
    if len(rows) == 0:
        raise UserError(f"{context.name}: task {context.task.name} has no training rows")
    return rows


def row_order(context: DrawContext, epoch: int) -> tuple[int, ...]:
    """Returns row numbers as an epoch takes them: every row once, or of each file as many as its weight says."""
    shares, seed = context.task.shares, (context.seed, context.name)
    order = stable_seed(*seed, "order", epoch)
    if not shares:
        return shuffled(len(context.task.train), order)
    return _mixed(shares, epoch, tuple(stable_seed(*seed, "turns", number) for number in range(len(shares))), order)


@lru_cache(maxsize=4)
def _mixed(shares: tuple[Share, ...], epoch: int, turns: tuple[int, ...], order: int) -> tuple[int, ...]:
    rows = rows_of_epoch(shares, epoch, [shuffled(share.rows, seed) for share, seed in zip(shares, turns, strict=True)])
    return tuple(rows[place] for place in shuffled(len(rows), order))


def draw_rows(
    context: DrawContext,
    position: Position,
    rollouts_of: Callable[[Example], tuple[Rollout, ...]],
    fault: str = "with equal sides (pairs that differ are expected)",
) -> FromRows:
    """Draws ``prompts_per_step`` groups of what rows say themselves. No rollouts of a row: it has no signal, by
    ``fault``.

    Rows that do not fit the context are passed over and counted. Raises UserError where no row can be used.
    """
    groups: list[Group] = []
    too_long = without_signal = 0
    taken = prompts_taken(position)
    for example, number in prompt_stream(context, taken):
        taken = number + 1
        rollouts = rollouts_of(example)
        if not rollouts:
            without_signal += 1
        elif fits(context, rollouts):
            groups.append(Group(rollouts[0].prompt, rollouts))
        else:
            too_long += 1
        if len(groups) == context.prompts_per_step:
            break
    refuse_nothing(len(groups), context, f"{without_signal} {fault}" if without_signal else "")
    return FromRows(groups, after_prompts(taken), too_long, without_signal)


def first_prompt(rollouts: Sequence[Rollout]) -> Prompt | None:
    """Returns the prompt of the group that a row is; None where it is none."""
    return rollouts[0].prompt if rollouts else None


def fits(context: DrawContext, rollouts: Sequence[Rollout]) -> bool:
    """Says whether all of them fit the context. Raises UserError for one that does not, where the stage says so."""
    most = max(rollouts, key=lambda rollout: longest(rollout.prompt) + len(rollout.tokens))
    return has_room(context, most.prompt.example, longest(most.prompt) + len(most.tokens))


def prompts_of(context: DrawContext, rows: Sequence[tuple[Example, int]]) -> list[Prompt | None]:
    """Returns the prompts of rows, each with its place in the stream; None for one that its environment did not open,
    which is told. What an environment says first depends on the run's seed and that place.

    Raises UserError where no environment of several rows began: those behind them would cost as much, for nothing.
    """
    episodes = context.task.episodes
    if episodes is None:
        return [context.renderer.prompt(example) for example, _ in rows]
    seeds = [(example, stable_seed(context.seed, context.name, "world", place)) for example, place in rows]
    found = open_prompts(context.renderer, episodes, seeds)
    for (example, _), prompt in zip(rows, found, strict=True):
        if isinstance(prompt, str) and prompt not in context.told:
            context.told.add(prompt)
            name = episodes.name
            context.on_note(f"{context.name}: {example.id}: the environment {name} did not begin: {prompt}")
    opened = [None if isinstance(prompt, str) else prompt for prompt in found]
    if len(rows) > 1 and not any(opened):
        refuse_nothing(0, context, unbegun=[str(prompt) for prompt in found])
    return opened


def has_room(context: DrawContext, example: Example, needed: int) -> bool:
    """Says whether so many tokens fit the context. Raises UserError where they do not and the stage says so."""
    if needed <= context.engine.context_tokens:
        return True
    refuse_if_asked(context, example, needed)
    return False


def refuse_if_asked(context: DrawContext, example: Example, needed: int) -> None:
    """Raises UserError for a row that does not fit, where the stage says so."""
    if context.long_prompts == "error":
        raise UserError(
            f"{context.name}: row {example.id} needs {needed} tokens, prompt and completion together; the context "
            f"has {context.engine.context_tokens}; shorten it, lower max_completion_tokens, or set long_prompts to skip"
        )


def refuse_nothing(
    usable: int,
    context: DrawContext,
    faults: str = "",
    unbegun: Sequence[str] = (),
    prompts: Sequence[int] = (),
    completion: int = 0,
) -> None:
    """Raises UserError where no row could be used. ``faults``: of those not too long, in words. ``unbegun``: why
    environments did not begin, where none did. ``prompts``: the tokens of those too long, beside ``completion``."""
    if usable:
        return
    name, room = context.task.name, context.engine.context_tokens
    if unbegun:
        [(why, count)] = Counter(unbegun).most_common(1)
        more = f"{count} of them" if count < len(unbegun) else "all of them"
        raise UserError(
            f"{context.name}: no environment of {name} began, of {counted(len(unbegun), 'row')} that were tried; "
            f"{more}: {why}"
        )
    if faults:
        raise UserError(
            f"{context.name}: no row of {name} that was tried can be used: {faults}, the others longer than the "
            f"context of {counted(room, 'token')}"
        )
    least = min(prompts, default=0)
    lengths = f" (the shortest prompt has {least:,} and max_completion_tokens is {completion:,})" if prompts else ""
    lower = "" if least >= room else "lower max_completion_tokens or "
    raise UserError(
        f"{context.name}: every row of {name} that was tried is too long: prompt and completion together exceed "
        f"the context of {counted(room, 'token')}{lengths}; {lower}take another model"
    )
