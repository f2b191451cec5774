"""q ~ P, o ~ π_sft: completions of policies that no longer change, sampled and selected once, then learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from groupwise.algorithm import Source
from groupwise.errors import UserError
from groupwise.seeding import shuffled, stable_seed
from groupwise.sources import store
from groupwise.sources.demonstrations import demonstrated
from groupwise.sources.rows import fits, has_room, refuse_nothing, row_order, rows_of
from groupwise.sources.sampling import Sampler
from groupwise.sources.selection import DistinctPaths, Selection, select_from
from groupwise.sources.world import Draw, Gathered, World
from groupwise.types import Group, Prompt, Rollout, Sampling

SAMPLED_TOGETHER = 4096  # completions, then they are scored


@dataclass(frozen=True)
class FrozenPolicy(Source):
    """q ~ P, o ~ π_sft: completions of policies that no longer change.

    The first draw samples them all, scores them with the task's rewards, selects, and keeps what is left in
    ``World.store``; every draw then takes ``prompts_per_step`` of the kept groups, epoch after epoch in seeded order.
    ``Rollout.version`` and ``behavior_logprobs`` are the sampler's, at ``sampling_temperature``.
    """

    samples_per_prompt: int = 16
    """Completions a prompt and model; 100 in arXiv 2308.01825."""
    sampling_temperature: float = 0.7
    """Of the samples."""
    temperature: float = 1.0
    """Of the log-probabilities that are trained; 1 is the model as it is."""
    max_completion_tokens: int = 256
    """A completion that reaches it is truncated."""
    prompts: int = 0
    """How many of the training rows, the first in seeded order; 0: all."""
    models: tuple[str, ...] = ()
    """Whom to sample from, pooled for each prompt in this order. Empty, and every name that is empty: the policy as the
    stage finds it."""
    select: Selection = field(default_factory=DistinctPaths)
    """What of a prompt's pooled samples is trained on."""
    demonstrations: bool = False
    """The rows' own completions are trained on, too, each as a group of one without a reward."""

    def draw(self, world: World, cursor: int) -> Draw:
        """Gathers at the first draw, whose metrics tell of it.

        Raises UserError where no sample was kept, where a later draw does not find what the first gathered, and where
        the store holds something else.
        """
        gathered = self._gathered(world, cursor)
        groups, epochs = gathered.groups, (world.seed, world.stage.name, "gathered")
        end, chosen = cursor + world.stage.prompts_per_step, []
        for position in range(cursor, end):
            epoch, place = divmod(position, len(groups))
            chosen.append(groups[shuffled(len(groups), stable_seed(*epochs, epoch))[place]])
        metrics = {"gathered_groups": float(len(groups))}
        if cursor:
            return Draw(chosen, end, metrics)
        return Draw(chosen, end, metrics | gathered.metrics, gathered.seconds, gathered.sampled_tokens)

    def _gathered(self, world: World, cursor: int) -> Gathered:
        """From memory, from the store, or made now."""
        made_by = f"{world.stage.name}: {self!r} with seed {world.seed}"
        if made_by in world.gathered:
            return world.gathered[made_by]
        rows, path = rows_of(world), world.store / f"{world.stage.name}.jsonl" if world.store else None
        gathered = store.read(path, rows, made_by) if path else None
        if gathered is None and cursor:
            raise UserError(
                f"{world.stage.name}: what its first step sampled is not there any more "
                f"({path or 'it was kept in memory only'}), and the policy has changed since; start the stage over"
            )
        if gathered is None:
            gathered = self._gather(world)
            if path:
                store.write(path, gathered, {rows[row].id: row for row in self._rows(world)}, made_by)
        world.gathered[made_by] = gathered
        return gathered

    def _gather(self, world: World) -> Gathered:
        prompts, too_long = self._prompts(world)
        own = [demonstrated(world, prompt.example) for prompt in prompts.values()] if self.demonstrations else []
        fitting = [rollout for rollout in own if fits(world, (rollout,))]
        sampler, models, done = Sampler(world), self.models or ("",), 0
        pools: dict[int, list[Rollout]] = {row: [] for row in prompts}
        for number, name in enumerate(models):
            for row, rollouts in self._samples(world, sampler, number, name, prompts):
                pools[row] += rollouts
                done += 1
                world.on_phase("gather", done, len(prompts) * len(models))
        pooled = [Group(prompts[row], tuple(rollouts)) for row, rollouts in pools.items()]
        groups, counts = select_from(pooled, self.select)
        if not groups:
            raise UserError(_nothing_kept(world, pooled, counts))
        groups += [Group(rollout.prompt, (rollout,)) for rollout in fitting]
        too_long += len(prompts) * len(models) - done + len(own) - len(fitting)
        metrics = sampler.metrics(pooled) | counts | {"prompts_too_long": float(too_long)}
        return Gathered(groups, metrics, sampler.seconds, sampler.tokens)

    def _rows(self, world: World) -> tuple[int, ...]:
        """The numbers of the rows that are asked, in order."""
        return row_order(world, 0)[: self.prompts or None]

    def _prompts(self, world: World) -> tuple[dict[int, Prompt], int]:
        """By row number, and how many did not fit."""
        rows = rows_of(world)
        prompts = {row: world.renderer.prompt(rows[row]) for row in self._rows(world)}
        fitting = {row: prompt for row, prompt in prompts.items() if self._has_room(world, prompt)}
        refuse_nothing(len(fitting), world)
        return fitting, len(prompts) - len(fitting)

    def _has_room(self, world: World, prompt: Prompt) -> bool:
        return has_room(world, prompt.example, len(prompt.tokens) + self.max_completion_tokens)

    def _samples(
        self, world: World, sampler: Sampler, number: int, model: str, prompts: Mapping[int, Prompt]
    ) -> Iterator[tuple[int, list[Rollout]]]:
        """Scored rollouts of each row that fits one model's context. The model is closed when the last is out."""
        there = replace(world, engine=world.open_policy(model)) if model else world
        rows, size = [row for row, prompt in prompts.items() if self._has_room(there, prompt)], self.samples_per_prompt
        stream = (world.seed, world.stage.name, "gather", number)
        how = Sampling(self.max_completion_tokens, self.sampling_temperature, stop_tokens=world.renderer.stop_tokens)
        together = max(1, SAMPLED_TOGETHER // size)
        for start in range(0, len(rows), together):
            part = rows[start : start + together]
            seeds = [tuple(stable_seed(*stream, row, index) for index in range(size)) for row in part]
            found = sampler.sample(there.engine, [prompts[row] for row in part], seeds, how)
            scored = sampler.score([rollout for rollouts in found for rollout in rollouts])
            for place, row in enumerate(part):
                yield row, scored[place * size : (place + 1) * size]


def _nothing_kept(world: World, pooled: Sequence[Group], counts: Mapping[str, float]) -> str:
    sampled = sum(len(group.rollouts) for group in pooled)
    said = ", ".join(f"{name} {count:g}" for name, count in counts.items()) or "none selected"
    return (
        f"{world.stage.name}: of {sampled} completions of {len(pooled)} prompts none was kept ({said}); begin with a "
        "better model, or raise samples_per_prompt or max_completion_tokens"
    )
