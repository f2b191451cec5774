"""q ~ P, o ~ π_sft: completions of policies that no longer change, sampled and selected once, then learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from groupwise.algorithm import Source
from groupwise.errors import UserError
from groupwise.sources.demonstrations import demonstrated
from groupwise.sources.gathering import asked_prompts, check_replay, gathered_once, samples, take
from groupwise.sources.rows import fits
from groupwise.sources.sampling import Sampler
from groupwise.sources.selection import DistinctPaths, Selection, select_from
from groupwise.sources.world import Draw, Gathered, World
from groupwise.types import Group, Rollout


@dataclass(frozen=True)
class FrozenPolicy(Source):
    """q ~ P, o ~ π_sft: completions of policies that no longer change.

    The first draw samples them all, scores them with the task's rewards, selects, and keeps what is left in
    ``World.store``; every draw then takes ``prompts_per_step`` of the kept groups, epoch after epoch in seeded order.
    ``Rollout.version`` and ``behavior_logprobs`` are the sampler's, at ``sampling_temperature``.
    """

    samples_per_prompt: Annotated[int, "[1, inf)"] = 16
    """Completions a prompt and model; 100 in arXiv 2308.01825."""
    sampling_temperature: Annotated[float, "[0, inf)"] = 0.7
    """Of the samples."""
    temperature: Annotated[float, "(0, inf)"] = 1.0
    """Of the log-probabilities that are trained; 1 is the model as it is."""
    max_completion_tokens: Annotated[int, "[1, inf)"] = 256
    """A completion that reaches it is truncated."""
    prompts: Annotated[int, "[0, inf)"] = 0
    """How many of the training rows, the first in seeded order; 0: all."""
    models: tuple[str, ...] = ()
    """Whom to sample from, pooled for each prompt in this order: earlier stages by their names, first and last as
    ``Stage.start`` has them, directories or hub names. Empty, and every name that is empty: the policy as the stage
    finds it."""
    select: Selection = field(default_factory=DistinctPaths)
    """What of a prompt's pooled samples is trained on."""
    demonstrations: bool = False
    """The rows' own completions are trained on, too, each as a group of one without a reward."""
    replay: Annotated[float, "[0, 1)"] = 0.0
    """Share of the groups that is drawn at random from what earlier stages kept (DeepSeekMath, Algorithm 1: 0.1)."""
    replay_from: tuple[str, ...] = ()
    """Those stages, on the same rows; empty: nothing is replayed."""

    def __post_init__(self) -> None:
        check_replay(self.replay)

    def draw(self, world: World, cursor: int) -> Draw:
        """Gathers at the first draw, whose metrics tell of it.

        Raises UserError where no sample was kept, and for what ``gathered_once`` raises.
        """
        return take(gathered_once(self, world, cursor, self._gather), world, cursor)

    def asks_verdict(self) -> bool:
        return self.select.asks_verdict()

    def sampled_by(self) -> Literal["learner", "another", "nobody"]:
        return "another"

    def _gather(self, world: World) -> Gathered:
        prompts, too_long = asked_prompts(self, world)
        own = [demonstrated(world, prompt.example) for prompt in prompts.values()] if self.demonstrations else []
        fitting = [rollout for rollout in own if fits(world, (rollout,))]
        sampler, done, wanted = Sampler(world), 0, len(prompts) * len(self.models or ("",))
        pools: dict[int, list[Rollout]] = {row: [] for row in prompts}
        for sampled in samples(self, world, sampler, prompts):
            for row, rollouts in sampled.rollouts.items():
                pools[row] += rollouts
                done += 1
                world.on_phase("gather", done, wanted)
        pooled = [Group(prompts[row], tuple(rollouts)) for row, rollouts in pools.items()]
        groups, counts = select_from(pooled, self.select)
        if not groups:
            raise UserError(_nothing_kept(world, pooled, counts))
        groups += [Group(rollout.prompt, (rollout,)) for rollout in fitting]
        too_long += wanted - done + len(own) - len(fitting)
        metrics = sampler.metrics(pooled) | counts | {"prompts_too_long": float(too_long)}
        return Gathered(groups, metrics, sampler.seconds, sampler.tokens)


def _nothing_kept(world: World, pooled: Sequence[Group], counts: Mapping[str, float]) -> str:
    sampled = sum(len(group.rollouts) for group in pooled)
    said = ", ".join(f"{name} {count:g}" for name, count in counts.items()) or "none selected"
    return (
        f"{world.stage.name}: of {sampled} completions of {len(pooled)} prompts none was kept ({said}); begin with a "
        "better model, or raise samples_per_prompt or max_completion_tokens"
    )
