"""A task's rows in the order that a stage takes them, and groups made from rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

from groupwise.counting import counted
from groupwise.errors import UserError
from groupwise.seeding import shuffled, stable_seed
from groupwise.sources.world import World
from groupwise.tasks.shares import Share, epoch_size, rows_of_epoch
from groupwise.types import Example, Group, Rollout

MOST_ROWS = 50  # looked at for each prompt that a step wants


@runtime_checkable
class RowSource(Protocol):
    """A source whose groups are in the rows themselves: nothing is sampled."""

    def rollouts(self, world: World, example: Example) -> tuple[Rollout, ...]:
        """The group that one row is; none where it has no signal. Raises UserError for a row that holds no such."""
        ...


@dataclass(frozen=True)
class FromRows:
    """Groups, the position after the last row that was looked at, and how many rows were passed over."""

    groups: list[Group]
    cursor: int
    too_long: int = 0
    without_signal: int = 0


def prompt_stream(world: World, cursor: int) -> Iterator[tuple[Example, int]]:
    """Examples and their positions from ``cursor`` on: epoch after epoch, each in its own seeded order.

    Ends after ``MOST_ROWS`` a prompt, so that a stage which can use no row stops instead of looking for ever.
    """
    rows, size = rows_of(world), epoch_size(world.stage.task.shares) or len(world.stage.task.train)
    for position in range(cursor, cursor + MOST_ROWS * world.stage.prompts_per_step):
        epoch, place = divmod(position, size)
        yield rows[row_order(world, epoch)[place]], position


def rows_of(world: World) -> Sequence[Example]:
    """The task's training rows. Raises UserError where there are none."""
    rows = world.stage.task.train
    if len(rows) == 0:
        raise UserError(f"{world.stage.name}: task {world.stage.task.name} has no training rows")
    return rows


def row_order(world: World, epoch: int) -> tuple[int, ...]:
    """Row numbers as an epoch takes them: every row once, or of each file as many as its weight says."""
    shares, seed = world.stage.task.shares, (world.seed, world.stage.name)
    order = stable_seed(*seed, "order", epoch)
    if not shares:
        return shuffled(len(world.stage.task.train), order)
    return _mixed(shares, epoch, tuple(stable_seed(*seed, "turns", number) for number in range(len(shares))), order)


@lru_cache(maxsize=4)
def _mixed(shares: tuple[Share, ...], epoch: int, turns: tuple[int, ...], order: int) -> tuple[int, ...]:
    rows = rows_of_epoch(shares, epoch, [shuffled(share.rows, seed) for share, seed in zip(shares, turns, strict=True)])
    return tuple(rows[place] for place in shuffled(len(rows), order))


def draw_rows(
    world: World,
    cursor: int,
    rollouts_of: Callable[[Example], tuple[Rollout, ...]],
    fault: str = "with equal sides (pairs that differ are expected)",
) -> FromRows:
    """``prompts_per_step`` groups of what rows say themselves. No rollouts of a row: it has no signal, by ``fault``.

    Rows that do not fit the context are passed over and counted. Raises UserError where no row can be used.
    """
    groups: list[Group] = []
    too_long = without_signal = 0
    for example, position in prompt_stream(world, cursor):
        cursor = position + 1
        rollouts = rollouts_of(example)
        if not rollouts:
            without_signal += 1
        elif fits(world, rollouts):
            groups.append(Group(rollouts[0].prompt, rollouts))
        else:
            too_long += 1
        if len(groups) == world.stage.prompts_per_step:
            break
    refuse_nothing(len(groups), world, f"{without_signal} {fault}" if without_signal else "")
    return FromRows(groups, cursor, too_long, without_signal)


def fits(world: World, rollouts: Sequence[Rollout]) -> bool:
    """Whether all of them fit the context. Raises UserError for one that does not, where the stage says so."""
    longest = max(rollouts, key=lambda rollout: len(rollout.prompt.tokens) + len(rollout.tokens))
    return has_room(world, longest.prompt.example, len(longest.prompt.tokens) + len(longest.tokens))


def has_room(world: World, example: Example, needed: int) -> bool:
    """Whether so many tokens fit the context. Raises UserError where they do not and the stage says so."""
    if needed <= world.engine.context_tokens:
        return True
    refuse_if_asked(world, example, needed)
    return False


def refuse_if_asked(world: World, example: Example, needed: int) -> None:
    """Raises UserError for a row that does not fit, where the stage says so."""
    if world.stage.long_prompts == "error":
        raise UserError(
            f"{world.stage.name}: row {example.id} needs {needed} tokens, prompt and completion together; the context "
            f"has {world.engine.context_tokens}; shorten it, lower max_completion_tokens, or set long_prompts to skip"
        )


def refuse_nothing(usable: int, world: World, faults: str = "") -> None:
    """Raises UserError where no row could be used. ``faults``: of those not too long, in words."""
    if usable:
        return
    name, context = world.stage.task.name, world.engine.context_tokens
    if faults:
        raise UserError(
            f"{world.stage.name}: no row of {name} that was tried can be used: {faults}, the others longer than the "
            f"context of {counted(context, 'token')}"
        )
    raise UserError(
        f"{world.stage.name}: every row of {name} that was tried is too long: prompt and completion together exceed "
        f"the context of {counted(context, 'token')}; lower max_completion_tokens or take another model"
    )
