"""This module holds what policies that no longer change are asked once: their samples, kept and read again, and drawn
from in epochs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

from groupwise.errors import UserError
from groupwise.protocols import RolloutEngine
from groupwise.seeding import shuffled, stable_seed
from groupwise.sources import offline_files
from groupwise.sources.draw import DrawContext, OfflineGroups, Position, RolloutBatch, after_prompts, prompts_taken
from groupwise.sources.rollouts import Sampler
from groupwise.sources.rows import has_room, prompts_of, refuse_nothing, row_order, rows_of
from groupwise.tokens.privileged import longest
from groupwise.types import ANOTHER_POLICY, DEMONSTRATED, Example, Group, Prompt, Rollout

SAMPLED_TOGETHER = 4096  # completions, then they are scored


class Gatherer(Protocol):
    """The options of a source that gathers, as FrozenPolicy documents them."""

    @property
    def samples_per_prompt(self) -> int:
        """Is the number of completions that it samples of a prompt."""

    @property
    def sampling_temperature(self) -> float:
        """Is the temperature of the samples."""

    @property
    def temperature(self) -> float:
        """Is the temperature of every log-probability of the algorithm."""

    @property
    def max_completion_tokens(self) -> int:
        """Bounds each completion that it samples."""

    @property
    def prompts(self) -> int:
        """Says how many of the training rows it asks; 0: all."""

    def samples_from(self) -> tuple[str, ...]:
        """Names the models that it samples from; an empty name is the policy as the stage finds it."""

    @property
    def replay(self) -> float:
        """Is the share of the mix that old samples make."""

    @property
    def replay_from(self) -> tuple[str, ...]:
        """Names the stages whose samples are used again."""


class ModelSamples(NamedTuple):
    """These are scored samples of some rows by one model, whose engine is open until the next part is asked for."""

    model: int
    """Its place in ``models``."""
    engine: RolloutEngine
    rollouts: dict[int, list[Rollout]]
    """By row number."""


def check_replay(replay: float) -> None:
    """Raises UserError for a share that no mix can have."""
    if not 0 <= replay < 1:
        raise UserError(f"replay is {replay}; expected a share of the mix, 0 <= replay < 1")


def gather_once(
    source: Gatherer, context: DrawContext, position: Position, gather: Callable[[DrawContext], OfflineGroups]
) -> OfflineGroups:
    """Returns the groups from memory, from the store, or made now; with the source's share of what earlier stages
    gathered.

    Raises UserError where a later draw does not find what the first gathered, where the store holds something else,
    and where a stage to replay from left nothing.
    """
    made_by = _made_by(source, context)
    if made_by in context.gathered:
        return context.gathered[made_by]
    old = _replayed_files(source, context)  # a wrong name is said before hours of sampling
    rows, path = rows_of(context), context.store / f"{context.name}.jsonl" if context.store else None
    gathered = offline_files.read(path, rows, made_by) if path else None
    if gathered is None and prompts_taken(position):
        raise UserError(
            f"{context.name}: what its first step sampled is not there any more "
            f"({path or 'it was kept in memory only'}), and the policy has changed since; start the stage over"
        )
    if gathered is None:
        gathered = gather(context)
        context.serve()  # nobody is sampled from again: what was opened for it can go
        if path:
            offline_files.write(path, gathered, {rows[row].id: row for row in chosen_rows(source, context)}, made_by)
    parts = _parts(context)
    if parts and parts.exists():
        shutil.rmtree(parts)
    context.gathered[made_by] = _with_replay(gathered, source.replay, old, rows, context)
    return context.gathered[made_by]


def take(gathered: OfflineGroups, context: DrawContext, position: Position) -> RolloutBatch:
    """Draws ``prompts_per_step`` of the groups, epoch after epoch in seeded order. The first draw's metrics tell of
    all."""
    groups, epochs = gathered.groups, (context.seed, context.name, "gathered")
    taken = prompts_taken(position)
    end, chosen = taken + context.prompts_per_step, []
    for number in range(taken, end):
        epoch, place = divmod(number, len(groups))
        chosen.append(groups[shuffled(len(groups), stable_seed(*epochs, epoch))[place]])
    metrics = {"gathered_groups": float(len(groups))}
    if taken:
        return RolloutBatch(chosen, after_prompts(end), metrics)
    return RolloutBatch(
        chosen, after_prompts(end), metrics | gathered.metrics, gathered.seconds, gathered.sampled_tokens
    )


def chosen_rows(source: Gatherer, context: DrawContext) -> tuple[int, ...]:
    """The numbers of the rows that are asked, in order."""
    return row_order(context, 0)[: source.prompts or None]


def fitting_prompts(source: Gatherer, context: DrawContext) -> tuple[dict[int, Prompt], int]:
    """Returns prompts by row number, and how many did not fit. Raises UserError where none does."""
    rows, asked = rows_of(context), chosen_rows(source, context)
    prompts = dict(zip(asked, prompts_of(context, [(rows[row], row) for row in asked]), strict=True))
    fitting = {row: each for row, each in prompts.items() if each is not None and _has_room(source, context, each)}
    lengths = [longest(each) for each in prompts.values() if each is not None]
    refuse_nothing(len(fitting), context, prompts=lengths, completion=source.max_completion_tokens)
    return fitting, len(prompts) - len(fitting)


def samples(
    source: Gatherer, context: DrawContext, sampler: Sampler, prompts: Mapping[int, Prompt], together: int = 0
) -> Iterator[ModelSamples]:
    """Yields, model after model, samples of the rows that fit its context, about ``together`` completions at a time (0:
    4,096).

    A part that was sampled and scored is kept until all of them are, so that a run that dies in between samples the
    others alone.
    """
    size, done = source.samples_per_prompt, 0
    wanted = size * len(prompts) * len(source.samples_from())
    how = context.renderer.sampling(source.max_completion_tokens, source.sampling_temperature)
    count = max(1, (together or SAMPLED_TOGETHER) // size)
    for number, model in enumerate(source.samples_from()):
        there = replace(context, engine=context.open_policy(model)) if model else context
        rows = [row for row, prompt in prompts.items() if _has_room(source, there, prompt)]
        stream = (context.seed, context.name, "gather", number)
        for start in range(0, len(rows), count):
            part = rows[start : start + count]
            kept = _Part(source, context, number, start)
            groups = kept.read()
            if groups is None:
                seeds = [tuple(stable_seed(*stream, row, index) for index in range(size)) for row in part]
                told = partial(_told, context, done, wanted)
                found = sampler.sample(there.engine, [prompts[row] for row in part], seeds, how, told)
                scored = iter(sampler.score([rollout for rollouts in found for rollout in rollouts]))
                groups = [Group(prompts[row], tuple(next(scored) for _ in range(size))) for row in part]
                if model or source.sampling_temperature != source.temperature:
                    groups = [_of_another_policy(group) for group in groups]
                kept.write(groups, part)
            done += size * len(part)
            rollouts = {row: list(group.rollouts) for row, group in zip(part, groups, strict=True)}
            yield ModelSamples(number, there.engine, rollouts)


class _Part:
    """This is what was sampled at one time, on the disk where the context has a store."""

    def __init__(self, source: Gatherer, context: DrawContext, model: int, start: int) -> None:
        self.rows = rows_of(context)
        self.made_by = f"{_made_by(source, context)}, model {model}, from row {start}"
        folder = _parts(context)
        self.path = folder / f"{model}-{start:09d}.jsonl" if folder else None

    def read(self) -> list[Group] | None:
        kept = offline_files.read(self.path, self.rows, self.made_by) if self.path else None
        return kept.groups if kept else None

    def write(self, groups: list[Group], rows: Sequence[int]) -> None:
        if self.path:
            offline_files.write(
                self.path, OfflineGroups(groups), {self.rows[row].id: row for row in rows}, self.made_by
            )


def _parts(context: DrawContext) -> Path | None:
    return context.store / f".parts-{context.name}" if context.store else None


def _made_by(source: Gatherer, context: DrawContext) -> str:
    return f"{context.name}: {source!r} with seed {context.seed}"


def _told(context: DrawContext, before: int, wanted: int, done: int) -> None:
    context.on_phase("sample", before + done, wanted)


def _has_room(source: Gatherer, context: DrawContext, prompt: Prompt) -> bool:
    return has_room(context, prompt.example, longest(prompt) + source.max_completion_tokens)


def _replayed_files(source: Gatherer, context: DrawContext) -> list[Path]:
    """Returns the files of the stages to replay from. Raises UserError where one is missing."""
    if not source.replay:
        return []
    found = []
    for name in source.replay_from:
        path = context.store / f"{name}.jsonl" if context.store and name != context.name else None
        if path is None or not path.exists():
            raise UserError(
                f"{context.name}: nothing to replay from {name} ({path or 'nothing of it is kept'}); expected "
                "names of earlier stages of this run whose source gathers, in replay_from"
            )
        found.append(path)
    return found


def _of_another_policy(group: Group) -> Group:
    """The same group: versions of other weights are not counted with those of the policy that learns."""
    own = (
        rollout if rollout.version == DEMONSTRATED else replace(rollout, version=ANOTHER_POLICY, versions=())
        for rollout in group.rollouts
    )
    return replace(group, rollouts=tuple(own))


def _with_replay(
    gathered: OfflineGroups, share: float, files: Sequence[Path], rows: Sequence[Example], context: DrawContext
) -> OfflineGroups:
    """Returns groups with old ones among them, so that these are ``share`` of the mix: none twice while there are
    others."""
    if not files:
        return gathered
    buffer: list[Group] = [group for path in files for group in offline_files.groups_in(path, rows)]
    if not buffer:
        raise UserError(f"{context.name}: nothing to replay: {', '.join(map(str, files))} hold no group")
    count = round(share / (1 - share) * len(gathered.groups))
    random = Random(stable_seed(context.seed, context.name, "replay"))
    old = buffer * (count // len(buffer)) + random.sample(buffer, count % len(buffer))
    old = [_of_another_policy(group) for group in old]
    metrics = gathered.metrics | {"replay/groups": float(count)}
    return replace(gathered, groups=[*gathered.groups, *old], metrics=metrics)
